(() => {  // links each token to its coefficients, by pointer and by keyboard
  for (const row of document.querySelectorAll(".tokens")) {
    const chips = [...row.querySelectorAll("[data-token]")];
    if (!chips.length) continue;
    const place = row.closest(".linked"), said = document.createElement("output");
    said.className = "told soft"; said.textContent = "Point at a token, or choose one with the arrow keys.";
    row.after(said);
    const marked = token => place ? place.querySelectorAll(`[data-token="${Number(token)}"]`) : chips.filter(c => c.dataset.token === token);
    const light = chip => {
      const all = place ? place.querySelectorAll(".lit") : row.querySelectorAll(".lit");
      for (const old of all) old.classList.remove("lit");
      for (const one of marked(chip.dataset.token)) one.classList.add("lit");
      const own = chips.find(c => c.dataset.token === chip.dataset.token);
      said.textContent = own.textContent + (own.title ? ": " + own.title : "");
    };
    chips.forEach((chip, i) => {
      chip.tabIndex = i ? -1 : 0;
      chip.addEventListener("focus", () => light(chip));
      chip.addEventListener("keydown", event => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        const to = step ? i + step : event.key === "Home" ? 0 : event.key === "End" ? chips.length - 1 : -1;
        if (!chips[to]) return;
        event.preventDefault(); chip.tabIndex = -1; chips[to].tabIndex = 0; chips[to].focus(); light(chips[to]);
      });
    });
    for (const one of (place || row).querySelectorAll("[data-token]"))
      for (const kind of ["pointerenter", "click"]) one.addEventListener(kind, () => light(one));
  }
})();
