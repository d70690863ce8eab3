"use strict";
// The gallery of a report. All text reaches the page as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const CLASSES = ["real", "fake"];

  const build = (tag, values = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(values)) {
      if (name === "text") node.textContent = value;
      else if (name === "style") Object.assign(node.style, value);
      else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter(Boolean));
    return node;
  };

  // ---- rows

  const rows = [
    ...data.rows.map((row) => ({ ...row, outcome: findOutcome(row), key: `row ${row.row}` })),
    ...data.quarantined.map((row) => ({ ...row, outcome: "quarantined", key: `file ${row.path}` })),
  ];

  function findOutcome(row) {
    if (row.decision === "review") return "review";
    if (row.decision === CLASSES[row.label]) return "right";
    return row.label === 0 ? "fp" : "fn";
  }

  const OUTCOMES = {
    right: ["right", "right"], fp: ["real called fake", "wrong"], fn: ["fake called real", "wrong"],
    review: ["left to a person", "unsure"], quarantined: ["cannot be used", "unsure"],
  };
  const KINDS = {
    all: ["all", () => true],
    fp: ["reals called fake", (row) => row.outcome === "fp"],
    fn: ["fakes called real", (row) => row.outcome === "fn"],
    wrong: ["all mistakes", (row) => row.outcome === "fp" || row.outcome === "fn"],
    right: ["right answers", (row) => row.outcome === "right"],
    review: ["left to a person", (row) => row.outcome === "review"],
    chance: ["drawn by chance", (row) => row.why === data.by_chance],
    pairs: ["same picture elsewhere", (row) => row.pairs?.length > 0],
    quarantined: ["files that cannot be used", (row) => row.outcome === "quarantined"],
    reviewed: ["labels you looked at", (row) => review.has(row.key)],
  };
  const sureness = (row) => Math.abs(row.log_odds - data.threshold);
  const ORDERS = {
    sure: ["most sure first", (a, b) => sureness(b) - sureness(a)],
    unsure: ["least sure first", (a, b) => sureness(a) - sureness(b)],
    disagreement: ["most disagreement first", (a, b) => b.disagreement - a.disagreement],
    fake: ["most fake first", (a, b) => b.log_odds - a.log_odds],
    real: ["most real first", (a, b) => a.log_odds - b.log_odds],
    name: ["by name", (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)],
  };
  // What has no scores comes last, whatever the order.
  const isScored = (row) => row.outcome !== "quarantined";
  const compare = (a, b) => isScored(b) - isScored(a) || (isScored(a) ? ORDERS[order.value][1](a, b) : 0);
  const review = new Map();
  let shown = [];
  let current = -1;

  // ---- tools

  const tools = ["kind", "generator", "source", "domain", "order"].map(byId);
  const [kind, generator, source, domain, order] = tools;
  const fill = (select, options) =>
    select.append(...options.map(([value, text]) => build("option", { value, text })));
  const count = (test) => rows.filter(test).length;
  fill(kind, Object.entries(KINDS).map(([name, [text, test]]) =>
    [name, name === "reviewed" ? text : `${text} (${count(test)})`]));
  for (const [select, name] of [[generator, "generator"], [source, "source"], [domain, "domain"]]) {
    const known = [...new Set(rows.map((row) => row[name]).filter(Boolean))].sort();
    const show = (value) => (name === "domain" ? value.replace("_", "-") : value);
    fill(select, [["", "all"], ...known.map((value) => [value, show(value)])]);
    select.disabled = known.length < 2;
  }
  fill(order, Object.entries(ORDERS).map(([name, [text]]) => [name, text]));
  tools.forEach((select) => select.addEventListener("change", update));

  function update() {
    const [, test] = KINDS[kind.value];
    shown = rows.filter((row) => test(row)
      && (!generator.value || row.generator === generator.value)
      && (!source.value || row.source === source.value)
      && (!domain.value || row.domain === domain.value));
    shown.sort(compare);
    byId("count").textContent = `${shown.length} of ${rows.length} shown`;
    byId("tiles").replaceChildren(...shown.map((row, place) => build("li", {}, buildTile(row, place))));
  }

  function buildTile(row, place) {
    const [text, style] = OUTCOMES[row.outcome];
    const tile = build("button", { type: "button", class: "tile" }, buildImage(row.picture, ""),
      build("span", {},
        build("span", { class: style, text, style: { padding: 0 } }), build("br"),
        row.log_odds === undefined ? row.name : `${percent(row.probability)} fake`,
        review.has(row.key) ? build("strong", { text: ` · ${describeReview(row)}` }) : null));
    tile.setAttribute("aria-label", `${row.name}: ${text}`
      + (row.log_odds === undefined ? "" : `, ${percent(row.probability)} fake, label ${CLASSES[row.label]}`));
    tile.addEventListener("click", () => open(place));
    return tile;
  }

  function buildImage(source, alt) {
    if (!source) return build("span", { class: "none", text: "no picture" });
    return build("img", { src: source, alt, loading: "lazy", decoding: "async" });
  }

  const percent = (share) => {
    const value = 100 * share;
    return `${value > 0 && value < 1 ? "<1" : value < 100 && value > 99 ? ">99" : value.toFixed(0)} %`;
  };
  const signed = (value, digits = 2) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);

  // ---- one row

  const detail = byId("detail");
  let heat = "";

  function open(place) {
    current = place;
    show();
    if (!detail.open) detail.showModal();
  }

  function step(by) {
    const to = current + by;
    if (to < 0 || to >= shown.length) return;
    open(to);
  }

  function show() {
    const row = shown[current];
    byId("place").textContent = `${current + 1} of ${shown.length}`;
    byId("previous").disabled = current === 0;
    byId("next").disabled = current === shown.length - 1;
    const parts = row.outcome === "quarantined" ? buildQuarantined(row) : buildRow(row);
    byId("detail-body").replaceChildren(...parts);
    detail.scrollTop = 0;
  }

  function buildQuarantined(row) {
    return [build("div", {}, buildImage(row.picture, row.name)), build("div", {},
      build("h2", { id: "detail-name", text: row.name }),
      build("p", { text: `This file of val cannot be used: ${row.problem}` }))];
  }

  function buildRow(row) {
    const [, style] = OUTCOMES[row.outcome];
    const verdict = { fp: "wrong", fn: "wrong", right: "right", review: "open" }[row.outcome];
    const answer = row.decision === "review" ? "left to a person" : `called ${row.decision}`;
    const left = build("div", {}, buildPicture(row), buildJudge(row));
    const right = build("div", {},
      build("h2", { id: "detail-name", text: row.name }),
      build("p", {}, `Label ${CLASSES[row.label]}, ${answer}: `, build("span", { class: style, text: verdict }),
        `. ${percent(row.probability)} fake. Shown because: ${row.why}.`
        + (row.override >= 0 ? ` Its label was corrected to ${CLASSES[row.override]}.` : "")),
      build("h3", { text: "Scores, in log-odds" }), buildScores(row),
      ...Object.entries(row.drivers).flatMap(([name, drivers]) => [
        build("h3", { text: `What moved ${name}${name === data.shipped ? " (ships)" : ""}` }),
        buildDrivers(drivers)]),
      row.neighbours.length ? build("h3", { text: "Most similar pictures of train" }) : null,
      row.neighbours.length ? buildStrip(row.neighbours, (other) =>
        `${CLASSES[other.label]}${other.generator ? `, ${other.generator}` : ""}, ${other.similarity.toFixed(2)}`) : null,
      row.pairs.length ? build("h3", { text: "The same picture elsewhere" }) : null,
      row.pairs.length ? buildStrip(row.pairs, (other) => `${other.role}, ${other.kind}, ${other.action}`) : null,
      build("h3", { text: "File" }), buildFacts(row));
    return [left, right];
  }

  function buildPicture(row) {
    const width = row.file.width || 1, height = row.file.height || 1;
    const ratio = Math.min(3, Math.max(1 / 3, width / height));
    const picture = build("div", { class: width < 160 ? "picture small" : "picture", style: { aspectRatio: String(ratio) } });
    if (!row.picture) return build("p", { class: "none", text: "The picture is not there any more." });
    picture.append(build("img", { src: row.picture, alt: `The picture ${row.name}` }));
    const maps = row.heat || {};
    const side = row.decision === "real" ? 0 : 1;
    if (!Object.keys(maps).length) return picture;
    const choice = build("select", { id: "heat" });
    fill(choice, [["", "off"], ...Object.keys(maps).map((name) => [name, name])]);
    choice.value = heat in maps ? heat : "";
    const draw = () => {
      picture.querySelector(".heat")?.remove();
      heat = choice.value;
      const source = heat && maps[heat][side];
      if (source) picture.append(build("img", { class: "heat", src: source, alt: `Where ${heat} saw signs of ${CLASSES[side]}` }));
    };
    choice.addEventListener("change", draw);
    draw();
    const label = build("label", {}, `Grad-CAM, signs of ${CLASSES[side]} (key G) `, choice);
    return build("div", {}, picture, build("p", {}, label));
  }

  function buildScores(row) {
    const entries = [[data.shipped + " (ships)", row.log_odds], ...Object.entries(row.members), ["null model", row.null_model]];
    const reach = Math.max(4, ...entries.map(([, value]) => Math.abs(value)));
    return buildBars(entries, reach, data.threshold);
  }

  function buildDrivers(drivers) {
    const entries = [...drivers.columns, ["all other columns", drivers.others], ["every picture alike", drivers.base]];
    const reach = Math.max(0.1, ...entries.map(([, value]) => Math.abs(value)));
    return buildBars(entries, reach, null);
  }

  function buildBars(entries, reach, mark) {
    const bars = build("div", { class: "bars" });
    for (const [name, value] of entries) {
      const part = (50 * Math.abs(value)) / reach;
      const track = build("span", { class: "track", "aria-hidden": "true" },
        build("i", { class: value < 0 ? "to-real" : "to-fake",
          style: { left: `${value < 0 ? 50 - part : 50}%`, width: `${part}%` } }),
        mark === null ? null : build("b", { style: { left: `${50 + (50 * mark) / reach}%` } }));
      bars.append(build("span", { text: name }), track, build("span", { class: "number", text: signed(value) }));
    }
    return bars;
  }

  function buildStrip(others, describe) {
    return build("ul", { class: "strip" }, ...others.map((other) =>
      build("li", {}, buildImage(other.picture, other.name || other.path), describe(other))));
  }

  function buildFacts(row) {
    const facts = {
      path: row.path, size: `${row.file.width} × ${row.file.height}, ${row.file.bytes.toLocaleString("en")} bytes`,
      format: [row.file.format, row.file.notes].filter(Boolean).join(", "),
      generator: row.generator || "none named", source: row.source || "none named",
      domain: row.domain.replace("_", "-"), disagreement: row.disagreement.toFixed(2),
    };
    return build("dl", { class: "facts" }, ...Object.entries(facts).flatMap(([name, text]) =>
      [build("dt", { text: name }), build("dd", { text })]));
  }

  // ---- labels that were looked at

  function buildJudge(row) {
    const known = review.get(row.key);
    const set = (corrected) => {
      const note = review.get(row.key)?.note ?? "";
      if (review.get(row.key)?.corrected === corrected) review.delete(row.key);
      else review.set(row.key, { row, corrected, note });
      keep();
      show();
      byId(corrected === row.label ? "is-right" : "is-wrong")?.focus();
    };
    const wrong = build("button", { type: "button", id: "is-wrong", "aria-keyshortcuts": "w",
      "aria-pressed": String(known?.corrected === 1 - row.label), text: `Label is wrong: it is ${CLASSES[1 - row.label]} (W)` });
    const right = build("button", { type: "button", id: "is-right", "aria-keyshortcuts": "r",
      "aria-pressed": String(known?.corrected === row.label), text: "Label is right (R)" });
    wrong.addEventListener("click", () => set(1 - row.label));
    right.addEventListener("click", () => set(row.label));
    const note = build("input", { type: "text", id: "note", maxlength: "500", value: known?.note ?? "" });
    note.addEventListener("input", () => { review.get(row.key).note = note.value; keep(); });
    return build("div", { class: "judge" }, wrong, right,
      known ? build("label", {}, "Note", note) : null);
  }

  const describeReview = (row) => (review.get(row.key).corrected === row.label ? "label right" : "label wrong");
  const quote = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  function writeCsv() {
    const marked = [...review.values()].map(({ row, corrected, note }) =>
      ["val", row.name, row.label, corrected, note]);
    // What an earlier file said of other rows stays: this one takes its place.
    const names = new Set(marked.map(([, name]) => name));
    const earlier = data.overrides.filter(({ role, name }) => role !== "val" || !names.has(name))
      .map(({ role, name, label, corrected }) => [role, name, label, corrected, ""]);
    const lines = [...earlier, ...marked].map((cells) => cells.map((cell) => quote(String(cell))).join(","));
    return ["role,img_name,label,corrected,note", ...lines].join("\n") + "\n";
  }

  // A page in a frame without storage keeps marks until it is closed.
  const KEPT = `forgerystack review ${data.digest}`;
  function keep() {
    try {
      localStorage.setItem(KEPT, JSON.stringify([...review].map(([key, { corrected, note }]) => [key, corrected, note])));
    } catch { /* no storage here */ }
    showReview();
  }
  function recall() {
    try {
      for (const [key, corrected, note] of JSON.parse(localStorage.getItem(KEPT) ?? "[]")) {
        const row = rows.find((other) => other.key === key && other.outcome !== "quarantined");
        if (row && (corrected === 0 || corrected === 1)) review.set(key, { row, corrected, note: String(note) });
      }
    } catch { /* no storage here, or not ours */ }
  }

  function showReview() {
    const wrong = [...review.values()].filter(({ row, corrected }) => corrected !== row.label).length;
    byId("review").hidden = review.size === 0 || detail.open;
    byId("review-count").textContent = `${review.size} ${review.size === 1 ? "label" : "labels"} looked at, ${wrong} of them wrong`;
    byId("csv").value = writeCsv();
  }

  byId("download").addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([writeCsv()], { type: "text/csv" }));
    const link = build("a", { href: address, download: "review.csv" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  });
  byId("show-csv").addEventListener("click", () => {
    const csv = byId("csv");
    csv.hidden = !csv.hidden;
    byId("show-csv").setAttribute("aria-expanded", String(!csv.hidden));
    if (!csv.hidden) { csv.focus(); csv.select(); }
  });
  byId("forget").addEventListener("click", () => { review.clear(); keep(); update(); });

  // ---- keys, theme

  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => detail.close());
  detail.addEventListener("close", () => {
    const key = shown[current]?.key;
    update();
    showReview();
    const place = shown.findIndex((row) => row.key === key);
    byId("tiles").children[Math.max(0, place)]?.firstChild.focus();
  });
  // On the document: a button that has just been disabled passes no key on to its parents.
  document.addEventListener("keydown", (event) => {
    if (!detail.open || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const acts = {
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => open(0), End: () => open(shown.length - 1),
      w: () => byId("is-wrong")?.click(), r: () => byId("is-right")?.click(), g: turnHeat,
    };
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act) { event.preventDefault(); act(); }
  });

  function turnHeat() {
    const choice = byId("heat");
    if (!choice) return;
    choice.selectedIndex = (choice.selectedIndex + 1) % choice.options.length;
    choice.dispatchEvent(new Event("change"));
  }

  const theme = byId("theme");
  const isDark = () => (document.documentElement.dataset.theme
    ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  theme.hidden = false;
  theme.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
  nameTheme();

  recall();
  if (rows.some(KINDS.wrong[1])) kind.value = "wrong";
  update();
  showReview();
})();
