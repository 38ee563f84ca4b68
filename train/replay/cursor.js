(() => {
  const bar = document.querySelector(".cursor"), range = bar.querySelector("input"), play = bar.querySelector("button");
  const said = bar.querySelector("output"), rate = parseFloat(bar.dataset.perSecond) || 0, last = Number(range.max);
  const LEFT = 44, RIGHT = 8, lines = [];
  document.body.classList.add("scripted");
  for (const part of document.querySelectorAll(".timed")) for (const svg of part.querySelectorAll("svg")) {
    const box = svg.viewBox.baseVal, line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    line.setAttribute("class", "now"); line.setAttribute("y1", 8); line.setAttribute("y2", box.height - 30);
    svg.append(line); lines.push([line, box.width]);
    svg.addEventListener("click", event => {
      const at = svg.getBoundingClientRect(), x = (event.clientX - at.left) / at.width * box.width;
      range.value = Math.round((x - LEFT) / (box.width - LEFT - RIGHT) * last); show();
    });
  }
  const show = () => {
    const step = Number(range.value);
    for (const [line, width] of lines) {
      const x = LEFT + (last ? step / last : 0) * (width - LEFT - RIGHT);
      line.setAttribute("x1", x); line.setAttribute("x2", x);
    }
    for (const group of document.querySelectorAll(".moments")) {
      let best = null;
      for (const figure of group.children) {
        figure.classList.remove("shown");
        if (best === null || Number(figure.dataset.step) <= step) best = figure;
      }
      if (best) best.classList.add("shown");
    }
    said.textContent = "step " + step + (rate ? ", " + (step / rate).toFixed(2) + " s" : "");
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
})();
