"use strict";
// Draws one grid a forecaster from the data in the page, and tells what is known of a cell.
(() => {
  const root = document.documentElement;
  const facts = JSON.parse(document.getElementById("cells").textContent);
  const panel = document.getElementById("cell");
  const F = facts.cutoffs.length;
  const N = facts.tickers.length;
  const NAMES = facts.states.map((state) => state[0]);
  const FAILED = facts.states.findIndex((state) => state[3]);
  const CODE = Object.fromEntries(facts.states.map((state, n) => [state[1], n]));
  const MIN_CELL = 2;
  const MAX_CELL = 16;
  const MAX_HEIGHT = 1500;
  const HEAD = 20;
  const LISTED = 60;
  const ALL_ROWS = facts.tickers.map((_, n) => n);
  let highlighted = -1;
  let colours = [];

  function decode(rows) {
    const cells = new Uint8Array(N * F);
    rows.forEach((row, n) => {
      let at = n * F;
      for (const [, letter, run] of row.matchAll(/([a-z])(\d*)/g)) {
        const stop = at + Number(run || 1);
        cells.fill(CODE[letter], at, stop);
        at = stop;
      }
    });
    return cells;
  }

  function element(name, text, attributes) {
    const made = document.createElement(name);
    if (text !== undefined && text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    return made;
  }

  function readColours() {
    const style = getComputedStyle(root);
    const of = (name) => style.getPropertyValue(name).trim();
    colours = NAMES.map((name) => of(`--c-${name}`));
    colours.dim = of("--dim");
    colours.ink = of("--ink");
    colours.soft = of("--soft");
    colours.paper = of("--paper");
  }

  const foldName = (f) =>
    (facts.splits ? `split ${facts.splits[f]}, ` : "") + `${facts.cutoffs[f]} (fold ${f})`;

  class Grid {
    constructor(canvas, spec) {
      this.canvas = canvas;
      this.spec = spec;
      this.cells = decode(facts.grids[spec]);
      this.said = document.getElementById(`at-${spec}`);
      this.rows = ALL_ROWS;
      this.cursor = null;
      this.drawn = false;
      canvas.addEventListener("mousemove", (event) => this.say(this.hit(event)));
      canvas.addEventListener("mouseleave", () => this.say(this.cursor));
      canvas.addEventListener("click", (event) => {
        const place = this.hit(event);
        if (place) this.go(place, true);
      });
      canvas.addEventListener("keydown", (event) => this.key(event));
      canvas.addEventListener("focus", () => {
        this.cursor = this.cursor || [0, 0];
        this.draw();
        this.say(this.cursor);
      });
      canvas.addEventListener("blur", () => this.draw());
    }

    layout() {
      const width = this.canvas.parentElement.clientWidth;
      const longest = Math.min(9, Math.max(...facts.tickers.map((t) => t.length)));
      this.left = 14 + 7 * longest;
      const space = width - this.left - 1;
      this.folds = Math.max(1, Math.ceil((F * MIN_CELL) / space)); // of one column
      this.columns = Math.ceil(F / this.folds);
      this.w = Math.min(MAX_CELL, Math.max(MIN_CELL, Math.floor(space / this.columns)));
      const n = this.rows.length;
      const tall = n <= 40 ? 14 : Math.max(3, Math.min(14, Math.floor(800 / n)));
      this.tickers = Math.max(1, Math.ceil((n * tall) / MAX_HEIGHT)); // of one row
      this.lines = Math.ceil(n / this.tickers);
      this.h = tall;
      this.width = width;
      this.height = HEAD + this.lines * this.h + 2;
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${this.height}px`;
    }

    // The cells of one place of the drawn grid, as [ticker, fold].
    members([line, column]) {
      const found = [];
      const rows = this.rows.slice(line * this.tickers, (line + 1) * this.tickers);
      for (const n of rows) {
        for (let f = column * this.folds; f < Math.min(F, (column + 1) * this.folds); f += 1) {
          found.push([n, f]);
        }
      }
      return found;
    }

    // The state that stands for a place: the one brought out, else the worst.
    standing(line, column) {
      const stopRow = Math.min(this.rows.length, (line + 1) * this.tickers);
      const stopFold = Math.min(F, (column + 1) * this.folds);
      let worst = 0;
      for (let r = line * this.tickers; r < stopRow; r += 1) {
        const base = this.rows[r] * F;
        for (let f = column * this.folds; f < stopFold; f += 1) {
          const code = this.cells[base + f];
          if (code === highlighted) return code;
          if (code > worst) worst = code;
        }
      }
      return worst;
    }

    draw() {
      this.layout();
      const scale = window.devicePixelRatio || 1;
      this.canvas.width = Math.round(this.width * scale);
      this.canvas.height = Math.round(this.height * scale);
      const pen = this.canvas.getContext("2d");
      pen.scale(scale, scale);
      const gap = this.w >= 5 && this.h >= 5 ? 1 : 0;
      for (let line = 0; line < this.lines; line += 1) {
        const y = HEAD + line * this.h;
        let from = 0;
        let last = this.standing(line, 0);
        for (let column = 1; column <= this.columns; column += 1) {
          const code = column < this.columns ? this.standing(line, column) : -1;
          // Without gaps, a run of one state is one rectangle.
          if (code === last && !gap) continue;
          pen.fillStyle = highlighted >= 0 && last !== highlighted ? colours.dim : colours[last];
          const x = this.left + from * this.w;
          const wide = (column - from) * this.w - gap;
          pen.fillRect(x, y, wide, this.h - gap);
          if (last >= FAILED && gap && this.w >= 8) this.notch(pen, x, y);
          from = column;
          last = code;
        }
      }
      this.axes(pen);
      this.outline(pen);
      this.drawn = true;
    }

    // A corner cut off marks a failed cell without its colour.
    notch(pen, x, y) {
      pen.fillStyle = colours.paper;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(x + 4, y);
      pen.lineTo(x, y + 4);
      pen.fill();
    }

    axes(pen) {
      pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
      pen.fillStyle = colours.soft;
      pen.textBaseline = "middle";
      const every = Math.max(1, Math.ceil(13 / this.h));
      for (let line = 0; line < this.lines; line += every) {
        const name = facts.tickers[this.rows[line * this.tickers]];
        const shown = name.length > 9 ? `${name.slice(0, 8)}…` : name;
        pen.fillText(shown, 0, HEAD + line * this.h + Math.min(this.h, 13) / 2);
      }
      pen.textBaseline = "top";
      const apart = Math.max(1, Math.ceil(80 / this.w));
      const end = this.left + this.columns * this.w;
      for (let column = 0; column < this.columns; column += apart) {
        const x = this.left + column * this.w;
        if (column && x + 60 > Math.max(end, this.width - 1)) break;
        pen.fillRect(x, HEAD - 4, 1, 3);
        pen.fillText(facts.cutoffs[column * this.folds], x, 2);
      }
    }

    outline(pen) {
      const open = panel.hidden ? null : panel.dataset.at;
      const [line, column] = this.cursor || [-1, -1];
      const mine = document.activeElement === this.canvas || (open && open === `${this.spec}`);
      if (!mine || line < 0 || line >= this.lines) return;
      const x = this.left + column * this.w;
      const y = HEAD + line * this.h;
      pen.lineWidth = 2;
      pen.strokeStyle = colours.paper;
      pen.strokeRect(x - 3, y - 3, this.w + 5, this.h + 5);
      pen.strokeStyle = colours.ink;
      pen.strokeRect(x - 1.5, y - 1.5, this.w + 2, this.h + 2);
    }

    hit(event) {
      const box = this.canvas.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left - this.left) / this.w);
      const line = Math.floor((event.clientY - box.top - HEAD) / this.h);
      const inside = column >= 0 && column < this.columns && line >= 0 && line < this.lines;
      return inside ? [line, column] : null;
    }

    place(n, f) {
      const row = this.rows.indexOf(n);
      return row < 0 ? null : [Math.floor(row / this.tickers), Math.floor(f / this.folds)];
    }

    say(place) {
      if (!place || place[0] >= this.lines) {
        this.said.textContent = "\u00a0";
        return;
      }
      const members = this.members(place);
      const [n, f] = members[0];
      if (members.length === 1) {
        const code = this.cells[n * F + f];
        this.said.textContent = `${facts.tickers[n]}, ${foldName(f)}: ${NAMES[code]}`;
      } else {
        const [m, g] = members[members.length - 1];
        const who = n === m ? facts.tickers[n] : `${facts.tickers[n]} to ${facts.tickers[m]}`;
        const counts = this.count(members).map(([code, k]) => `${k} ${NAMES[code]}`).join(", ");
        this.said.textContent = `${who}, ${facts.cutoffs[f]} to ${facts.cutoffs[g]}: ${counts}`;
      }
    }

    count(members) {
      const counts = new Map();
      for (const [n, f] of members) {
        const code = this.cells[n * F + f];
        counts.set(code, (counts.get(code) || 0) + 1);
      }
      return [...counts].sort((a, b) => b[0] - a[0]);
    }

    go(place, open) {
      this.cursor = place;
      this.say(place);
      if (open) {
        const members = this.members(place);
        if (members.length === 1) openCell(this, ...members[0]);
        else openMany(this, members);
      }
      this.draw();
      const y = this.canvas.getBoundingClientRect().top + HEAD + place[0] * this.h;
      const sheet = !panel.hidden && panel.clientWidth >= window.innerWidth - 20;
      const floor = sheet ? panel.getBoundingClientRect().top : window.innerHeight;
      if (y < 70 || y > floor - 30) window.scrollBy(0, y - floor / 2);
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const [line, column] = this.cursor || [0, 0];
      const page = Math.max(1, Math.floor(300 / this.h));
      const moves = {
        ArrowLeft: [line, column - 1], ArrowRight: [line, column + 1],
        ArrowUp: [line - 1, column], ArrowDown: [line + 1, column],
        PageUp: [line - page, column], PageDown: [line + page, column],
        Home: [line, 0], End: [line, this.columns - 1],
      };
      if (event.key === "Enter" || event.key === " ") {
        this.go([line, column], true);
      } else if (event.key === "n" || event.key === "p") {
        const found = this.failedFrom(line, column, event.key === "n" ? 1 : -1);
        if (found) this.go(found, false);
      } else if (moves[event.key]) {
        const [l, c] = moves[event.key];
        const within = (value, most) => Math.max(0, Math.min(most - 1, value));
        this.go([within(l, this.lines), within(c, this.columns)], false);
      } else {
        return;
      }
      event.preventDefault();
    }

    failedFrom(line, column, way) {
      const size = this.lines * this.columns;
      const start = line * this.columns + column;
      for (let step = 1; step <= size; step += 1) {
        const at = (start + way * step + size * 2) % size;
        const place = [Math.floor(at / this.columns), at % this.columns];
        if (this.members(place).some(([n, f]) => this.cells[n * F + f] >= FAILED)) return place;
      }
      return null;
    }

    filter(failing) {
      this.rows = failing
        ? ALL_ROWS.filter((n) => this.cells.subarray(n * F, (n + 1) * F).some((c) => c >= FAILED))
        : ALL_ROWS;
      this.cursor = null;
      this.draw();
    }
  }

  // What is known of a cell

  const reasons = facts.why.map(() => null);

  function reasonOf(spec, at) {
    if (!reasons[spec]) {
      const why = facts.why[spec];
      reasons[spec] = new Map(why.at.map((cell, n) => [cell, why.reason[n]]));
    }
    return reasons[spec].get(at);
  }

  const members = facts.sets.map(() => null);

  function blockOf(spec, n, f) {
    const blocks = facts.blocks[spec];
    for (let b = 0; b < blocks.id.length; b += 1) {
      if (blocks.first[b] <= f && f < blocks.stop[b]) {
        const set = blocks.set[b];
        members[set] = members[set] || new Set(facts.sets[set]);
        if (members[set].has(n)) return b;
      }
    }
    return -1;
  }

  const seconds = (value) => (value === null ? "" : `${Number(value.toPrecision(3))} s`);
  const quoted = (text) =>
    /^[\w.,/:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

  function shell(title) {
    panel.replaceChildren();
    const close = element("button", "close", { type: "button", class: "close" });
    close.addEventListener("click", shut);
    panel.append(element("h2", title, { id: "cell-title" }), close);
    return panel;
  }

  function badge(code) {
    const line = element("p", null, { class: "badge" });
    const state = facts.states[code];
    line.append(element("i", null, { class: `state ${state[0]}` }), `${state[0]}: ${state[2]}`);
    return line;
  }

  function terms(pairs) {
    const list = element("dl");
    for (const [term, value] of pairs) {
      if (value !== null && value !== "") list.append(element("dt", term), element("dd", value));
    }
    return list;
  }

  function show(grid) {
    panel.hidden = false;
    panel.dataset.at = `${grid.spec}`;
    root.dataset.open = "";
    panel.scrollTop = 0;
    panel.focus({ preventScroll: true });
  }

  let opener = null;

  function openCell(grid, n, f) {
    const spec = grid.spec;
    const at = n * F + f;
    const code = grid.cells[at];
    const b = blockOf(spec, n, f);
    const blocks = facts.blocks[spec];
    const told = b < 0 ? undefined : blocks.told[b];
    shell(`${facts.specs[spec]}, ${facts.tickers[n]}, ${facts.cutoffs[f]}`);
    panel.append(badge(code));
    if (code >= FAILED) panel.append(...failure(spec, at, told));
    if (b >= 0) panel.append(...block(spec, b, n, f));
    if (code >= FAILED) {
      const words = ["pmx", "rerun", facts.folder, "--spec", facts.specs[spec], "--ticker",
        facts.tickers[n], "--status", NAMES[code]];
      panel.append(element("h3", "Once the cause is mended"));
      const command = element("pre");
      for (const word of words) command.append(element("span", quoted(word)), " ");
      panel.append(command);
    }
    opener = grid;
    show(grid);
    history.replaceState(null, "", `#cell-${spec}.${n}.${f}`);
  }

  function failure(spec, at, told) {
    const parts = [element("h3", "Reason")];
    const given = told && told.given_up !== null ? told.given_up : undefined;
    const reason = given === undefined ? reasonOf(spec, at) : given;
    const text = reason === undefined
      ? "left out here for length; failures.parquet has it"
      : facts.reasons[reason];
    parts.push(element("p", text, { class: "reason" }));
    let trace = told && reason !== undefined ? told.traces[reason] : undefined;
    for (const row of given === undefined ? [] : told.attempts) {
      if (row[5] !== null) trace = told.traces[row[5]]; // of the last attempt
    }
    if (trace !== undefined) {
      parts.push(element("h3", "Traceback"), element("pre", facts.traces[trace], { class: "trace" }));
    }
    return parts;
  }

  function block(spec, b, n, f) {
    const blocks = facts.blocks[spec];
    const tickers = facts.sets[blocks.set[b]].map((m) => facts.tickers[m]);
    const named = tickers.length > 12
      ? `${tickers.slice(0, 12).join(", ")} and ${tickers.length - 12} more` : tickers.join(", ");
    const split = facts.splits ? `${facts.splits[f]}` : "";
    const parts = [
      element("h3", "Block"),
      terms([
        ["fold", `${f}`], ["split", split],
        ["block", blocks.id[b]],
        ["tickers", named],
        ["folds", `${blocks.first[b]} to ${blocks.stop[b] - 1}, ` +
          `${facts.cutoffs[blocks.first[b]]} to ${facts.cutoffs[blocks.stop[b] - 1]}`],
        ["seconds", seconds(blocks.seconds[b])],
        ["node", blocks.node[b] === null ? "" : facts.nodes[blocks.node[b]]],
      ]),
    ];
    return [...parts, ...attempts(blocks, b)];
  }

  function attempts(blocks, b) {
    const list = element("ol", null, { class: "attempts" });
    const told = blocks.told[b] || { attempts: [], traces: {} };
    const last = blocks.attempt[b];
    const known = new Map(told.attempts.map((row) => [row[0], row]));
    const most = Math.max(last || 0, ...known.keys());
    for (let k = 1; k <= most; k += 1) {
      const item = element("li");
      const row = known.get(k);
      if (row && row[3] !== "failed_cells") {
        const [, node, began, ended, took, error] = row;
        const how = ended === "raised" ? `raised after ${seconds(took)}` : "has not ended";
        item.append(`Attempt ${k}: began ${began} on ${facts.nodes[node]}, ${how}`);
        if (ended === "running") {
          item.append("; a worker that was killed leaves this too");
        }
        if (error !== null) {
          item.append(element("p", facts.reasons[error], { class: "reason" }));
          const trace = told.traces[error];
          if (trace !== undefined) {
            const fold = element("details");
            fold.append(element("summary", "Traceback"), element("pre", facts.traces[trace]));
            item.append(fold);
          }
        }
      } else if (k === last) {
        item.append(`Attempt ${k}: done in ${seconds(blocks.seconds[b])} on ` +
          facts.nodes[blocks.node[b]]);
      } else {
        item.append(`Attempt ${k}: left no record; its worker was lost`);
      }
      list.append(item);
    }
    return most ? [element("h3", "Attempts"), list] : [];
  }

  function openMany(grid, places) {
    const [n, f] = places[0];
    const [m, g] = places[places.length - 1];
    const who = n === m ? facts.tickers[n] : `${facts.tickers[n]} to ${facts.tickers[m]}`;
    shell(`${facts.specs[grid.spec]}, ${who}, ${facts.cutoffs[f]} to ${facts.cutoffs[g]}`);
    for (const [code, k] of grid.count(places)) {
      const line = badge(code);
      line.append(element("b", `${k}`));
      panel.append(line);
    }
    const list = element("ul");
    const worst = [...places].sort((a, b) =>
      grid.cells[b[0] * F + b[1]] - grid.cells[a[0] * F + a[1]]);
    for (const [row, fold] of worst.slice(0, LISTED)) {
      const item = element("li");
      const button = element("button", null, { type: "button" });
      const name = NAMES[grid.cells[row * F + fold]];
      button.append(element("i", null, { class: `state ${name}` }),
        `${facts.tickers[row]}, ${foldName(fold)}`);
      button.addEventListener("click", () => openCell(grid, row, fold));
      item.append(button);
      list.append(item);
    }
    panel.append(list);
    if (places.length > LISTED) {
      panel.append(element("p", `${places.length - LISTED} more cells share this place`));
    }
    opener = grid;
    show(grid);
  }

  function shut() {
    if (panel.hidden) return;
    panel.hidden = true;
    delete root.dataset.open;
    history.replaceState(null, "", location.pathname + location.search);
    if (opener) {
      opener.canvas.focus({ preventScroll: true });
      opener.draw();
    }
  }

  // The page

  readColours();
  const grids = [...document.querySelectorAll("canvas[data-spec]")]
    .map((canvas) => new Grid(canvas, Number(canvas.dataset.spec)));
  const near = new Set();
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const grid = grids[Number(entry.target.dataset.spec)];
      if (entry.isIntersecting) {
        near.add(grid);
        if (!grid.drawn) grid.draw();
      } else {
        near.delete(grid);
      }
    }
  }, { rootMargin: "600px" });

  // Those out of sight are drawn when they come near; their place is kept for them.
  function redraw() {
    for (const grid of grids) {
      grid.drawn = false;
      if (near.has(grid)) grid.draw();
      else grid.layout();
    }
  }

  function jump(spec, n, f) {
    const grid = grids[spec];
    if (!grid || !(n >= 0 && n < N && f >= 0 && f < F)) return;
    openCell(grid, n, f);
    const place = grid.place(n, f);
    if (place) grid.go(place, false);
  }

  for (const button of document.querySelectorAll("button[data-state]")) {
    button.addEventListener("click", () => {
      const code = NAMES.indexOf(button.dataset.state);
      highlighted = highlighted === code ? -1 : code;
      for (const other of document.querySelectorAll("button[data-state]")) {
        const on = NAMES.indexOf(other.dataset.state) === highlighted;
        other.setAttribute("aria-pressed", String(on));
      }
      redraw();
    });
  }
  for (const button of document.querySelectorAll("button[data-open]")) {
    button.addEventListener("click", () => jump(...button.dataset.open.split(".").map(Number)));
  }
  const failing = document.getElementById("failing");
  if (failing) {
    failing.addEventListener("change", () => grids.forEach((grid) => grid.filter(failing.checked)));
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") shut();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readColours();
    redraw();
  });
  for (const grid of grids) {
    grid.layout();
    seen.observe(grid.canvas);
  }
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (Math.abs(entry.contentRect.width - width) < 1) return;
    width = entry.contentRect.width;
    redraw();
  }).observe(document.querySelector("main"));

  const asked = /^#cell-(\d+)\.(\d+)\.(\d+)$/.exec(location.hash);
  if (asked) jump(...asked.slice(1).map(Number));
  if (facts.refresh) {
    const fresh = document.getElementById("fresh");
    setInterval(() => {
      if (fresh.checked && panel.hidden) location.reload();
    }, facts.refresh * 1000);
  }
  root.dataset.ready = String(grids.length);
})();
