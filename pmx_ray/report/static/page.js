"use strict";
// Draws the figures whose data stand in the page, in the reader's colours, for the chosen step.
(() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll(".plot[data-figure]")];
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const hidden = new Set();
  const PRINT_WIDTH = 660;
  let step = root.dataset.step;
  let printing = false;

  const COLOUR = /^var\((--[a-z0-9-]+)\)$/;
  const COLOUR_KEY = /color$/i;

  function resolve(node, key, style) {
    if (typeof node === "string") {
      const named = COLOUR.exec(node);
      return named && COLOUR_KEY.test(key) ? style.getPropertyValue(named[1]).trim() : node;
    }
    if (Array.isArray(node)) {
      // The pairs of a colour scale are [position, colour].
      const inner = key === "colorscale" ? "colorscale" : key;
      return node.map((item, i) =>
        resolve(item, inner === "colorscale" && i === 1 ? "stop-color" : inner, style));
    }
    if (node && typeof node === "object") {
      return Object.fromEntries(
        Object.entries(node).map(([name, value]) => [name, resolve(value, name, style)]));
    }
    return node;
  }

  function draw(plot) {
    const steps = figures[plot.dataset.figure];
    const chosen = steps[step] || steps[""];
    if (!chosen) return Promise.resolve();
    const figure = resolve(chosen, "", getComputedStyle(root));
    const width = printing ? PRINT_WIDTH : plot.clientWidth;
    for (const trace of figure.data) {
      if (trace.legendgroup) trace.visible = !hidden.has(trace.legendgroup);
      if (trace.texttemplate && width < 62 * trace.x.length + 80) delete trace.texttemplate;
    }
    if (figure.layout.height) plot.style.height = `${figure.layout.height}px`;
    figure.layout.width = printing ? PRINT_WIDTH : undefined;
    const config = { responsive: true, displaylogo: false, displayModeBar: false };
    return window.Plotly.react(plot, figure.data, figure.layout, config);
  }

  const drawAll = () => Promise.all(plots.map(draw));

  function choose(value) {
    step = value;
    root.dataset.step = value;
    for (const part of document.querySelectorAll("[data-at-step]")) {
      part.hidden = !printing && part.dataset.atStep !== value;
    }
    for (const name of document.querySelectorAll("[data-step-name]")) {
      name.textContent = value;
    }
    drawAll();
  }

  for (const radio of document.querySelectorAll("input[name=step]")) {
    radio.addEventListener("change", () => choose(radio.value));
    radio.checked = radio.value === step;
  }
  for (const button of document.querySelectorAll("button[data-spec]")) {
    button.setAttribute("aria-pressed", String(!hidden.has(button.dataset.spec)));
    button.addEventListener("click", () => {
      const spec = button.dataset.spec;
      if (!hidden.delete(spec)) hidden.add(spec);
      button.setAttribute("aria-pressed", String(!hidden.has(spec)));
      drawAll();
    });
  }
  dark.addEventListener("change", drawAll);
  window.addEventListener("beforeprint", () => {
    printing = true;
    root.dataset.paper = "";
    for (const details of document.querySelectorAll("details")) details.open = true;
    choose(step);
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    delete root.dataset.paper;
    choose(step);
  });

  choose(step);
  drawAll().then(() => { root.dataset.ready = String(plots.length); });
})();
