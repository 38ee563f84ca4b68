(() => {  // one moment in all the curves and pictures of a .timeline; without this script all pictures stand side by side
  for (const whole of document.querySelectorAll(".timeline")) {
    const bar = whole.querySelector(".cursor"), range = bar.querySelector("input"), play = bar.querySelector("button");
    const said = bar.querySelector("output"), rate = parseFloat(bar.dataset.perSecond) || 0, last = Number(range.max);
    const lines = [], values = [];
    whole.classList.add("scripted");
    for (const svg of whole.querySelectorAll(".timed svg")) {
      const [left, right, top, bottom] = svg.dataset.frame.split(" ").map(Number);
      const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      line.setAttribute("class", "now"); line.setAttribute("y1", top); line.setAttribute("y2", bottom);
      svg.append(line); lines.push([line, left, right]);
      const told = [...svg.querySelectorAll("[data-values]")]
        .map(path => [path.dataset.name, path.dataset.values.split(" ")]).filter(([, values]) => values.length === last + 1);
      if (told.length) {
        const output = document.createElement("output");
        output.className = "values"; svg.after(output); values.push([output, told]);
      }
      svg.addEventListener("click", event => {
        const at = svg.getBoundingClientRect(), x = (event.clientX - at.left) / at.width * svg.viewBox.baseVal.width;
        range.value = Math.round((x - left) / (right - left) * last); show();
      });
    }
    const show = () => {
      const step = Number(range.value);
      for (const [line, left, right] of lines) {
        const x = left + (last ? step / last : 0) * (right - left);
        line.setAttribute("x1", x); line.setAttribute("x2", x);
      }
      for (const group of whole.querySelectorAll(".moments")) {
        let best = null;
        for (const figure of group.children) {
          figure.classList.remove("shown");
          if (best === null || Number(figure.dataset.step) <= step) best = figure;
        }
        if (best) best.classList.add("shown");
      }
      for (const [output, told] of values) output.textContent = told.map(([name, all]) => `${name} ${all[step]}`).join(", ");
      said.textContent = "step " + step + (rate ? ", " + (step / rate).toFixed(2) + " s" : "");
      range.setAttribute("aria-valuetext", said.textContent);
    };
    let timer = 0;
    const stop = () => { clearInterval(timer); timer = 0; play.textContent = "Play"; };
    play.addEventListener("click", () => {
      if (timer) return stop();
      if (Number(range.value) >= last) range.value = 0;
      play.textContent = "Stop";
      const began = performance.now(), from = Number(range.value);
      timer = setInterval(() => {
        range.value = Math.min(last, Math.round(from + (performance.now() - began) / 1000 * (rate || 10)));
        show();
        if (Number(range.value) >= last) stop();
      }, 50);
    });
    range.addEventListener("input", () => { stop(); show(); });
    show();
  }
})();
