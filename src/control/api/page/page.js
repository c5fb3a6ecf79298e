// The page: asks the API again and again, and shows what it says. Nothing is loaded from elsewhere.
"use strict";

const EVERY_MS = 2000;
const $ = (id) => document.getElementById(id);
let token = sessionStorage.getItem("token") || "";
let before = null;

// ---- asking --------------------------------------------------------------------------------------------------------

async function ask(path, body) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const options = { headers, cache: "no-store" };
  if (body !== undefined) {
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
    headers["content-type"] = "application/json";
  }
  const answer = await fetch(path, options).catch(() => {
    throw new Error("tidegate does not answer; asking again …");
  });
  const said = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
  if (!answer.ok && !("ok" in said)) {
    throw new Error(said.error || `status ${answer.status}`);
  }
  return said;
}

function say(text, isBad) {
  const place = $("message");
  place.className = isBad ? "bad" : "";
  if (place.textContent !== text) place.textContent = text;
}

// ---- words ---------------------------------------------------------------------------------------------------------

function short(number) {
  if (number === null || number === undefined) return "-";
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["K", 1e3]]) {
    if (Math.abs(number) >= size) return `${(number / size).toPrecision(3)}${unit}`;
  }
  return Number.isInteger(number) ? String(number) : number.toPrecision(3);
}

function time(seconds) {
  const s = Math.floor(seconds);
  for (const [size, unit, below, small] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
    if (s >= size) {
      const rest = Math.floor((s % size) / below);
      return `${Math.floor(s / size)} ${unit}${rest ? ` ${rest} ${small}` : ""}`;
    }
  }
  return `${s} s`;
}

const nanoseconds = (ns) => (ns >= 1e6 ? `${(ns / 1e6).toPrecision(3)} ms` : ns >= 1e4 ? `${(ns / 1e3).toPrecision(3)} us` : `${Math.round(ns)} ns`);
const share = (part) => (part === null || part === undefined ? "-" : `${(part * 100).toFixed(1)} %`);
const place = (address, port) => `${address.includes(":") ? `[${address}]` : address}:${port ?? "*"}`;

// State words carry a sign, so that colour is not all that tells them apart.
function state(word) {
  if (word === "up") return ["good", `● ${word}`];
  if (word === "down") return ["bad", `✕ ${word}`];
  return ["warn", `◐ ${word}`];
}

// ---- tables whose rows stay where they are, so that the keyboard's place in them is kept -----------------------------

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function tableIn(parent, id, caption, headings) {
  let table = document.getElementById(id);
  if (!table) {
    const cells = headings.map(([text, kind]) => element("th", { scope: "col", class: kind || "" }, text));
    table = element("table", { id }, element("caption", {}, caption), element("thead", {}, element("tr", {}, ...cells)), element("tbody"));
    parent.append(element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table));
  }
  if (table.caption.textContent !== caption) table.caption.textContent = caption;
  return table;
}

// rows: [key, [[text, class] or {button, label, run, disabled}, ...]]
function fill(table, rows) {
  const body = table.tBodies[0];
  const old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  rows.forEach(([key, cells], at) => {
    let row = old.get(key);
    old.delete(key);
    if (!row) {
      row = element("tr", { "data-key": key }, ...cells.map(() => element("td")));
    }
    if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] || null);
    cells.forEach((cell, column) => put(row.cells[column], cell));
  });
  old.forEach((row) => row.remove());
}

function put(td, cell) {
  if (!Array.isArray(cell)) {
    let button = td.firstChild;
    if (!button) {
      button = element("button", { type: "button" });
      button.addEventListener("click", () => button.run());
      td.append(button);
    }
    button.run = cell.run;
    button.disabled = cell.disabled;
    button.title = cell.disabled ? "needs the token" : "";
    button.setAttribute("aria-label", cell.label);
    if (button.textContent !== cell.button) button.textContent = cell.button;
    return;
  }
  const [text, kind] = cell;
  if (td.className !== (kind || "")) td.className = kind || "";
  if (td.textContent !== String(text)) td.textContent = text;
}

// ---- graphs --------------------------------------------------------------------------------------------------------

const GRAPHS = [
  ["packets", "Packets a second", [["rx_packets_per_s", "received"], ["tx_packets_per_s", "sent"]], short],
  ["connections", "Connections", [["connections", "open"], ["new_connections_per_s", "new a second"]], short],
  ["latency", "Time inside", [["latency_p50_ns", "half below"], ["latency_p99_ns", "99 % below"]], nanoseconds],
  ["dropped", "Drops a second", [["drops_per_s", "dropped"]], short],
];

function graphs(history) {
  const parent = $("graphs");
  for (const [id, title, series, unit] of GRAPHS) {
    let figure = $(`graph-${id}`);
    if (!figure) {
      figure = element("figure", { id: `graph-${id}` }, element("figcaption"));
      figure.append(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
      parent.append(figure);
    }
    const lines = series.map(([key, name]) => [name, history[key] || []]);
    draw(figure.querySelector("svg"), title, lines, history, unit);
    const last = (values) => (values.length ? unit(values[values.length - 1]) : "-");
    const words = lines.map(([name, values], at) => element("span", { class: at ? "key-two" : "key-one" }, `${name} ${last(values)}`));
    figure.querySelector("figcaption").replaceChildren(element("b", {}, title), ...words);
  }
}

function draw(svg, title, lines, history, unit) {
  const [width, height, left, bottom] = [400, 120, 52, 16];
  const most = Math.max(...lines.flatMap(([, values]) => values), 0) || 1;
  const end = history.at.length ? history.at[history.at.length - 1] : 0;
  const span = Math.max(60, history.at.length ? end - history.at[0] : 0);
  const x = (at) => left + (1 - (end - at) / span) * (width - left - 2);
  const y = (value) => (height - bottom) * (1 - value / most) + 3;
  const make = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    if (text) made.textContent = text;
    return made;
  };
  svg.setAttribute("viewBox", `0 0 ${width} ${height + 4}`);
  svg.setAttribute("role", "img");
  const summary = lines.map(([name, values]) => (values.length
    ? `${name}: now ${unit(values[values.length - 1])}, at most ${unit(Math.max(...values))}` : `${name}: nothing yet`));
  svg.setAttribute("aria-label", `${title}, the last ${time(span)}. ${summary.join("; ")}`);
  const parts = [0, 0.5, 1].flatMap((part) => [
    make("line", { class: "grid", x1: left, x2: width - 2, y1: y(most * part), y2: y(most * part) }),
    make("text", { x: left - 6, y: y(most * part) + 3, "text-anchor": "end" }, unit(most * part)),
  ]);
  parts.push(make("text", { x: left, y: height + 1 }, `${time(span)} ago`), make("text", { x: width - 2, y: height + 1, "text-anchor": "end" }, "now"));
  lines.forEach(([, values], at) => {
    const points = values.map((value, index) => `${x(history.at[index]).toFixed(1)},${y(value).toFixed(1)}`);
    parts.push(make("polyline", { class: at ? "two" : "one", points: points.join(" ") }));
  });
  svg.replaceChildren(...parts);
}

// ---- what runs -----------------------------------------------------------------------------------------------------

function services(answer, seconds) {
  const parent = $("service-tables");
  const ids = new Set();
  answer.services.forEach((service) => {
    const id = `service-${service.name}`;
    ids.add(id);
    const caption = `${service.name}: ${service.protocol} ${place(service.vip, service.port)}, ${service.mode}, ${service.scheduler}`;
    const headings = [["Backend"], ["Address"], ["State"], ["Since", "n"], ["Weight", "n"], ["Connections", "n"], ["Packets/s", "n"], ["Reason"], [""], [""]];
    if (!$(id) && parent.firstElementChild && parent.firstElementChild.tagName === "P") parent.replaceChildren();
    fill(tableIn(parent, id, caption, headings), service.backends.map((backend) => {
      const name = `${backend.service}/${backend.name}`;
      const was = before && before.packets.get(name);
      const rate = was === undefined || was === null || !seconds ? null : Math.max(0, backend.packets - was) / seconds;
      const [kind, word] = state(backend.state);
      const command = (action, text) => ({
        button: text, label: `${text} ${name}`, disabled: !token, run: () => confirmThen(`${text} ${name}?`, () => change(name, action)),
      });
      return [name, [[backend.name], [place(backend.address, backend.port)], [word, kind], [time(backend.since_s), "n"], [backend.weight, "n"],
        [short(backend.connections), "n"], [short(rate === null ? null : Math.round(rate)), "n"], [backend.reason, "wide"],
        command("drain", "Drain"), command("up", "Up")]];
    }));
  });
  parent.querySelectorAll("table").forEach((table) => ids.has(table.id) || table.parentElement.remove());
  if (!answer.services.length) parent.replaceChildren(element("p", {}, "No service is configured."));
}

function workers(answer) {
  const headings = [["Worker"], ["CPU", "n"], ["Packets/s", "n"], ["Packets/burst", "n"], ["Cycles/packet", "n"], ["Busy", "n"], ["Connections", "n"], ["State"]];
  const caption = `Poll loops, over the last ${answer.seconds.toFixed(1)} s`;
  fill(tableIn($("workers"), "worker-table", caption, headings), answer.workers.map((worker) => [String(worker.id), [
    [worker.id], [worker.cpu ?? "-", "n"], [short(Math.round(worker.packets_per_s)), "n"], [short(worker.packets_per_burst), "n"],
    [short(worker.cycles_per_packet), "n"], [share(worker.busy_share), "n"], [`${short(worker.connections)} of ${short(worker.connections_max)}`, "n"],
    worker.stalled ? ["✕ stalled", "bad"] : ["● turning", "good"],
  ]]));
}

function drops(answer) {
  const headings = [["Reason"], ["Packets", "n"], ["Meaning"], ["What to do"]];
  const table = tableIn($("drops"), "drop-table", answer.drops.length ? "Since the start" : "Nothing has been dropped", headings);
  fill(table, answer.drops.map((drop) => [drop.reason, [[drop.reason], [short(drop.count), "n"], [drop.meaning, "wide"], [drop.cure || "", "wide"]]]));
}

// ---- changing ------------------------------------------------------------------------------------------------------

function confirmThen(question, run) {
  const dialog = $("confirm");
  $("confirm-text").textContent = question;
  dialog.onclose = () => dialog.returnValue === "yes" && run();
  dialog.returnValue = "no";
  dialog.showModal();
}

async function change(backend, action) {
  try {
    await ask("v1/backends", { backend, action });
    say(`${backend}: ${action}, done`);
    await refresh();
  } catch (error) {
    say(`${backend}: ${error.message}`, true);
  }
}

async function explain(event) {
  event.preventDefault();
  const parent = $("explanation");
  try {
    const [said] = await ask("v1/explain", { packet: $("packet").value });
    const rows = said.steps.map((step) => [step.what, step.text]);
    rows.push(["verdict", said.text]);
    if (said.drop) rows.push(["meaning", said.drop.meaning], ["cause", said.drop.cause], ["to do", said.drop.cure]);
    said.left.forEach((left) => {
      rows.push(["sent", `by port ${left.port}: ${left.packet}`]);
      left.changes.forEach((one) => rows.push(["", `${one.field}: ${[one.before, one.after].map((value) => value ?? "nothing").join(" → ")}`]));
    });
    const body = element("tbody", {}, ...rows.map(([what, text]) => element("tr", {}, element("td", {}, what), element("td", {}, text))));
    const caption = element("caption", {}, `${said.packet}, by port ${said.port}`);
    parent.replaceChildren(element("div", { class: "scroll" }, element("table", { id: "explained" }, caption, body)));
  } catch (error) {
    parent.replaceChildren(element("p", { class: "bad" }, error.message));
  }
}

// ---- again and again -----------------------------------------------------------------------------------------------

function tokenShown() {
  $("token-forget").hidden = !token;
  $("token").placeholder = token ? "in use" : "";
}

async function refresh() {
  const [status, health, history, serviceList, workerList, dropList] = await Promise.all(
    ["v1/status", "healthz", "v1/history", "v1/services", "v1/workers", "v1/drops"].map((path) => ask(path)));
  $("status").textContent = `${status.version}, up ${time(status.uptime_s)}, generation ${status.generation}`;
  $("health").className = `word ${health.ok ? "good" : "bad"}`;
  $("health").textContent = health.ok ? "● healthy" : `✕ ${health.reasons.join("; ")}`;
  const now = performance.now() / 1000;
  const packets = new Map(serviceList.services.flatMap((service) => service.backends.map((backend) => [`${backend.service}/${backend.name}`, backend.packets])));
  graphs(history);
  services(serviceList, before ? now - before.at : 0);
  workers(workerList);
  drops(dropList);
  before = { at: now, packets };
}

async function turn() {
  try {
    if (!document.hidden) {
      await refresh();
      if ($("message").className === "bad") say("");
    }
  } catch (error) {
    say(error.message, true);
  }
  setTimeout(turn, EVERY_MS);
}

$("explain-form").addEventListener("submit", explain);
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("token", token);
  $("token").value = "";
  tokenShown();
  refresh().catch((error) => say(error.message, true));
});
$("token-forget").addEventListener("click", () => {
  token = "";
  sessionStorage.removeItem("token");
  tokenShown();
  refresh().catch((error) => say(error.message, true));
});
tokenShown();
turn();
