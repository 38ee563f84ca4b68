(() => {  // sorts and filters long tables; reads cells as text only
  const value = (row, i) => {
    const said = row.cells[i].textContent.trim(), number = parseFloat(said.replace(/,/g, ""));
    return /^[+-]?[\d.,]+(e[+-]?\d+)?( ?%)?( \[.*\])?$/.test(said) ? number : said === "–" || said === "-" ? null : said;
  };
  const compare = (a, b) => a === b ? 0 : a === null ? 1 : b === null ? -1
    : typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  for (const table of document.querySelectorAll("table.long")) {
    const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, i) => {
      if (!head.textContent) return;
      const button = document.createElement("button");
      button.type = "button"; button.append(...head.childNodes); head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending", sign = down ? -1 : 1;
        heads.forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        body.append(...[...rows].sort((a, b) => {
          const x = value(a, i), y = value(b, i);
          return x === null || y === null ? compare(x, y) : sign * compare(x, y);
        }));
      });
    });
    const box = document.createElement("input"), count = document.createElement("output"), bar = document.createElement("p");
    box.type = "search"; box.placeholder = "filter rows"; box.setAttribute("aria-label", "filter the rows of this table");
    box.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const has = row.textContent.toLowerCase();
        row.hidden = !words.every(word => has.includes(word));
        shown += !row.hidden;
      }
      count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    });
    bar.className = "filter"; bar.append(box, " ", count);
    table.closest(".scroll").before(bar);
  }
})();
