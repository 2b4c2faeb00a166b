// The page that shows a run (sim/trace_html.h): its looks and its behaviour. It needs nothing from outside.
#include "sim/trace_html.h"

namespace varve::sim {

const char* const kTraceTemplate = R"page(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>varve-sim trace</title>
<style>
  :root { --ink: #1d2733; --soft: #667587; --line: #d8dfe6; --paper: #fbfcfd; --bad: #c62828; }
  * { box-sizing: border-box; }
  html, body { height: 100%; margin: 0; }
  body { display: flex; flex-direction: column; font: 13px/1.35 system-ui, sans-serif; color: var(--ink);
    background: var(--paper); }
  header { padding: 8px 12px 4px; border-bottom: 1px solid var(--line); }
  h1 { font-size: 15px; margin: 0 0 2px; }
  .config { color: var(--soft); font-size: 12px; overflow-wrap: anywhere; }
  .violation { color: var(--bad); font-weight: 600; overflow-wrap: anywhere; }
  .note { color: #8a5a00; }
  .bar { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: center; padding: 4px 12px;
    border-bottom: 1px solid var(--line); }
  .bar label { white-space: nowrap; font-size: 12px; }
  .swatch { display: inline-block; width: 9px; height: 9px; margin-right: 3px; border-radius: 2px; }
  button { font: inherit; font-size: 12px; padding: 1px 8px; }
  input[type=search] { font: inherit; width: 22em; }
  #time { position: relative; flex: none; }
  canvas { display: block; width: 100%; cursor: grab; touch-action: none; }
  #tip { position: fixed; z-index: 2; max-width: 60em; padding: 4px 7px; border-radius: 3px; display: none;
    background: #1d2733; color: #fff; font: 12px/1.4 ui-monospace, monospace; overflow-wrap: anywhere;
    pointer-events: none; }
  #list { flex: 1; min-height: 120px; overflow: auto; border-top: 1px solid var(--line);
    font: 12px/18px ui-monospace, monospace; }
  #rows { position: relative; }
  .row { position: absolute; left: 0; height: 18px; padding: 0 12px; white-space: pre; cursor: pointer; }
  .row:hover { background: #e8f0fa; }
  .row.chosen { background: #ffe9a8; }
  .row .at { color: var(--soft); }
</style>
</head>
<body>
<header>
  <h1 id="title"></h1>
  <div id="about"></div>
</header>
<div class="bar">
  <button id="all" type="button">whole run</button>
  <button id="last" type="button">the end</button>
  <button id="closer" type="button">closer (+)</button>
  <button id="wider" type="button">wider (-)</button>
  <span id="span"></span>
  <span class="config">wheel: zoom, drag: move, click: to the line</span>
</div>
<div id="time"><canvas id="canvas"></canvas></div>
<div class="bar">
  <input id="filter" type="search" placeholder="lines that contain these words" aria-label="filter">
  <span id="count"></span>
  <span id="kinds"></span>
</div>
<div id="list"><div id="rows"></div></div>
<div id="tip"></div>
<script type="application/json" id="data">@DATA@</script>
<script>
'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const byId = id => document.getElementById(id);
const lines = data.lines, messages = data.messages, bands = data.bands, lanes = data.lanes;
const colours = { boot: '#2e7d32', crash: '#c62828', pause: '#6d4c41', fault: '#e65100', claim: '#6a1b9a',
  serve: '#00838f', commit: '#1565c0', read: '#90a4ae', request: '#5c7cae', answer: '#7da05b',
  group: '#ad8a00', log: '#546e7a', model: '#d81b60', other: '#9e9e9e' };
const bandColours = { down: '#f3c7c7', paused: '#e3d5cd', 'cut-off': '#ffd9b0', 'one-way': '#ffeccc',
  owns: '#bfe3e6' };
const LEFT = 96, TOP = 8, LANE = 30, AXIS = 22;
const shown = data.kinds.map(() => true);
const end = Math.max(data.end, 1);
let from = 0, to = end, chosen = -1, list = [], width = 800, height = 200, drag = null, hits = [];

const seconds = ns => (ns / 1e9).toFixed(6) + ' s';
const absolute = ns => seconds(ns + data.begin);
const x = t => LEFT + (t - from) / (to - from) * (width - LEFT - 8);
const timeAt = px => from + (px - LEFT) / (width - LEFT - 8) * (to - from);
const y = lane => TOP + lane * LANE + LANE / 2;

function about() {
  document.title = 'varve-sim ' + data.title;
  byId('title').textContent = 'varve-sim ' + data.title;
  const add = (name, text) => {
    const line = document.createElement('div');
    line.className = name;
    line.textContent = text;
    byId('about').append(line);
  };
  add('config', data.config);
  for (const [invariant, what] of data.violations) add('violation', invariant + ' ' + what);
  if (data.violations.length === 0) add('config', 'all invariants hold');
  if (data.left_out > 0) {
    add('note', data.left_out + ' older lines are not on this page: it holds the last ' + data.limit + '.');
  }
  data.kinds.forEach((kind, i) => {
    const label = document.createElement('label');
    const box = document.createElement('input');
    box.type = 'checkbox';
    box.checked = true;
    box.onchange = () => { shown[i] = box.checked; refilter(); draw(); };
    const swatch = document.createElement('span');
    swatch.className = 'swatch';
    swatch.style.background = colours[kind];
    label.append(box, swatch, kind);
    byId('kinds').append(label, ' ');
  });
}

function step(span) {
  const rough = span / 8, power = Math.pow(10, Math.floor(Math.log10(rough)));
  return [1, 2, 5, 10].map(n => n * power).find(n => n >= rough);
}

function drawAxis(c) {
  const every = Math.max(step(to - from), 1);
  c.font = '11px system-ui, sans-serif';
  c.textAlign = 'center';
  const bottom = TOP + lanes.length * LANE;
  const digits = Math.min(9, Math.max(0, Math.ceil(-Math.log10(every / 1e9))));
  // Marks are of the world's clock, which does not begin at the page's beginning.
  for (let t = Math.ceil((from + data.begin) / every) * every - data.begin; t <= to; t += every) {
    c.strokeStyle = '#e6ebf0';
    c.beginPath();
    c.moveTo(x(t), TOP);
    c.lineTo(x(t), bottom);
    c.stroke();
    c.fillStyle = '#667587';
    if (x(t) < LEFT + 14 || x(t) > width - 30) continue;
    c.fillText(((t + data.begin) / 1e9).toFixed(digits) + ' s', x(t), bottom + 14);
  }
}

function drawLanes(c) {
  c.textAlign = 'left';
  lanes.forEach((lane, i) => {
    c.strokeStyle = '#c3ccd5';
    c.beginPath();
    c.moveTo(LEFT, y(i));
    c.lineTo(width - 8, y(i));
    c.stroke();
  });
  for (const [lane, a, b, kind, label] of bands) {
    if (b < from || a > to) continue;
    const left = Math.max(x(a), LEFT), right = Math.min(x(b), width - 8);
    const thick = kind === 'owns' ? 8 : 20;
    c.fillStyle = bandColours[kind];
    c.fillRect(left, y(lane) - thick / 2, Math.max(right - left, 1), thick);
    if (right - left > 40) {
      c.save();
      c.beginPath();
      c.rect(left, y(lane) - 15, right - left, 30);
      c.clip();
      c.font = '10px system-ui, sans-serif';
      c.fillStyle = '#44525f';
      c.fillText(label, left + 3, y(lane) + (kind === 'owns' ? 13 : -6));
      c.restore();
    }
    hits.push({ x0: left, x1: right, y0: y(lane) - thick / 2, y1: y(lane) + thick / 2, far: 1,
      text: lanes[lane] + ': ' + label + ', ' + absolute(a) + ' to ' + absolute(b) });
  }
}

function firstAfter(t) {
  let low = 0, high = lines.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lines[middle][0] < t) low = middle + 1; else high = middle;
  }
  return low;
}

function drawMessages(c) {
  const request = data.kinds.indexOf('request'), answer = data.kinds.indexOf('answer');
  for (const [a, lane0, b, lane1, isAnswer, lost, line] of messages) {
    if (b < from || a > to || !shown[isAnswer ? answer : request]) continue;
    const x0 = x(a), y0 = y(lane0), x1 = x(b), y1 = y(lane1);
    c.strokeStyle = lost ? '#e65100' : isAnswer ? '#a9c48f' : '#9db3d6';
    c.setLineDash(lost ? [4, 3] : []);
    c.lineWidth = line === chosen ? 3 : 1;
    c.beginPath();
    c.moveTo(x0, y0);
    c.lineTo(x1, y1);
    c.stroke();
    c.setLineDash([]);
    const turn = Math.atan2(y1 - y0, x1 - x0);
    c.fillStyle = c.strokeStyle;
    c.beginPath();
    c.moveTo(x1, y1);
    c.lineTo(x1 - 7 * Math.cos(turn - 0.35), y1 - 7 * Math.sin(turn - 0.35));
    c.lineTo(x1 - 7 * Math.cos(turn + 0.35), y1 - 7 * Math.sin(turn + 0.35));
    c.fill();
    hits.push({ line, x0, y0, x1, y1, slanted: true });
  }
  c.lineWidth = 1;
}

function drawEvents(c) {
  const big = { boot: 1, crash: 1, claim: 1, serve: 1, fault: 1, pause: 1 };
  for (let i = firstAfter(from); i < lines.length && lines[i][0] <= to; ++i) {
    const [t, , lane, kind] = lines[i];
    if (!shown[kind]) continue;
    const name = data.kinds[kind], half = big[name] ? 5 : 3, px = x(t), py = y(lane);
    c.fillStyle = colours[name];
    if (name === 'crash' || name === 'fault') {
      c.fillRect(px - 1.5, py - half - 2, 3, 2 * half + 4);
    } else if (name === 'claim' || name === 'serve' || name === 'boot') {
      c.beginPath();
      c.moveTo(px, py - half - 1);
      c.lineTo(px + half + 1, py);
      c.lineTo(px, py + half + 1);
      c.lineTo(px - half - 1, py);
      c.fill();
    } else {
      c.beginPath();
      c.arc(px, py, half, 0, 7);
      c.fill();
    }
    if (i === chosen) {
      c.strokeStyle = '#000';
      c.strokeRect(px - half - 3, py - half - 3, 2 * half + 6, 2 * half + 6);
    }
    hits.push({ line: i, x0: px - half, x1: px + half, y0: py - half, y1: py + half });
  }
}

function drawViolations(c) {
  if (data.violations.length === 0 || data.end < from || data.end > to) return;
  const px = Math.min(x(data.end), width - 9);
  c.strokeStyle = '#c62828';
  c.lineWidth = 2;
  c.beginPath();
  c.moveTo(px, 0);
  c.lineTo(px, TOP + lanes.length * LANE);
  c.stroke();
  c.lineWidth = 1;
  c.fillStyle = '#c62828';
  c.textAlign = 'right';
  c.font = 'bold 11px system-ui, sans-serif';
  c.fillText(data.violations[0][0], px - 4, 10);
  hits.push({ x0: px - 3, x1: px + 3, y0: 0, y1: height,
    text: data.violations.map(([invariant, what]) => invariant + ' ' + what).join('\n') });
}

function draw() {
  const canvas = byId('canvas'), scale = window.devicePixelRatio || 1;
  width = byId('time').clientWidth;
  height = TOP + lanes.length * LANE + AXIS;
  canvas.width = width * scale;
  canvas.height = height * scale;
  canvas.style.height = height + 'px';
  const c = canvas.getContext('2d');
  c.scale(scale, scale);
  c.clearRect(0, 0, width, height);
  hits = [];
  c.save();
  c.beginPath();
  c.rect(LEFT - 6, 0, width - LEFT + 6, height);
  c.clip();
  drawAxis(c);
  drawLanes(c);
  drawMessages(c);
  drawEvents(c);
  drawViolations(c);
  c.restore();
  c.textAlign = 'right';
  c.font = 'bold 12px system-ui, sans-serif';
  c.fillStyle = '#1d2733';
  lanes.forEach((lane, i) => c.fillText(lane, LEFT - 10, y(i) + 4));
  byId('span').textContent = absolute(from) + ' to ' + absolute(to);
}

function distance(hit, px, py) {
  if (!hit.slanted) {
    const dx = Math.max(hit.x0 - px, 0, px - hit.x1), dy = Math.max(hit.y0 - py, 0, py - hit.y1);
    return Math.hypot(dx, dy) + (hit.far ? 3 : 0);
  }
  const dx = hit.x1 - hit.x0, dy = hit.y1 - hit.y0, square = dx * dx + dy * dy;
  const part = square === 0 ? 0
    : Math.min(1, Math.max(0, ((px - hit.x0) * dx + (py - hit.y0) * dy) / square));
  return Math.hypot(px - hit.x0 - part * dx, py - hit.y0 - part * dy) + 1;
}

function hitAt(event) {
  const box = byId('canvas').getBoundingClientRect();
  let best = null, nearest = 7;
  for (const hit of hits) {
    const far = distance(hit, event.clientX - box.left, event.clientY - box.top);
    if (far < nearest) { nearest = far; best = hit; }
  }
  return best;
}

function tell(event) {
  const hit = drag ? null : hitAt(event), tip = byId('tip');
  tip.style.display = hit ? 'block' : 'none';
  if (!hit) return;
  const line = hit.line === undefined ? null : lines[hit.line];
  tip.textContent = line ? absolute(line[0]) + ' step ' + line[1] + '  ' + line[4] : hit.text;
  tip.style.left = Math.min(event.clientX + 12, window.innerWidth - tip.offsetWidth - 8) + 'px';
  tip.style.top = Math.min(event.clientY + 14, window.innerHeight - tip.offsetHeight - 8) + 'px';
}

function look(a, b) {
  const span = Math.min(Math.max(b - a, 200), end * 1.02);
  from = Math.max(-end * 0.01, Math.min(a, end * 1.01 - span));
  to = from + span;
  draw();
}

function zoom(by, at) { look(at - (at - from) * by, at + (to - at) * by); }

function refilter() {
  const words = byId('filter').value.toLowerCase().split(' ').filter(word => word);
  list = [];
  for (let i = 0; i < lines.length; ++i) {
    if (!shown[lines[i][3]]) continue;
    const text = lines[i][4].toLowerCase();
    if (words.every(word => text.includes(word))) list.push(i);
  }
  byId('count').textContent = list.length + ' of ' + lines.length + ' lines';
  byId('rows').style.height = list.length * 18 + 'px';
  rows();
}

// Only the rows that can be seen exist.
function rows() {
  const box = byId('list'), first = Math.max(0, Math.floor(box.scrollTop / 18) - 5);
  const last = Math.min(list.length, first + Math.ceil(box.clientHeight / 18) + 10);
  const made = [];
  for (let i = first; i < last; ++i) {
    const line = lines[list[i]], row = document.createElement('div');
    row.className = 'row' + (list[i] === chosen ? ' chosen' : '');
    row.style.top = i * 18 + 'px';
    const at = document.createElement('span');
    at.className = 'at';
    at.textContent = absolute(line[0]).padStart(16) + ' ' + String(line[1]).padStart(7) + '  ';
    const swatch = document.createElement('span');
    swatch.className = 'swatch';
    swatch.style.background = colours[data.kinds[line[3]]];
    row.append(at, swatch, line[4]);
    row.onclick = () => choose(list[i], true);
    made.push(row);
  }
  byId('rows').replaceChildren(...made);
}

// Marks a line; `move`: on the time axis, else in the list.
function choose(line, move) {
  chosen = line;
  if (move) {
    const half = (to - from) / 2, t = lines[line][0];
    if (t < from || t > to) look(t - half, t + half); else draw();
    rows();
    return;
  }
  const at = list.findIndex(one => one >= line);
  if (at >= 0) byId('list').scrollTop = Math.max(0, at * 18 - byId('list').clientHeight / 2);
  rows();
  draw();
}

function listen() {
  const canvas = byId('canvas');
  canvas.addEventListener('wheel', event => {
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    if (event.shiftKey) look(from + event.deltaY * (to - from) / 800, to + event.deltaY * (to - from) / 800);
    else zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event.clientX - box.left));
  }, { passive: false });
  canvas.addEventListener('pointerdown', event => {
    drag = { x: event.clientX, from, to, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener('pointermove', event => {
    if (drag) {
      const by = (drag.x - event.clientX) / (width - LEFT - 8) * (drag.to - drag.from);
      if (Math.abs(drag.x - event.clientX) > 3) drag.moved = true;
      if (drag.moved) look(drag.from + by, drag.to + by);
    }
    tell(event);
  });
  canvas.addEventListener('pointerup', event => {
    const moved = drag && drag.moved;
    drag = null;
    if (moved) return;
    const hit = hitAt(event);
    if (hit && hit.line !== undefined) choose(hit.line, false);
  });
  canvas.addEventListener('pointerleave', () => { byId('tip').style.display = 'none'; });
  byId('all').onclick = () => look(0, end);
  byId('last').onclick = () => look(end - end / 20, end);
  byId('closer').onclick = () => zoom(0.5, (from + to) / 2);
  byId('wider').onclick = () => zoom(2, (from + to) / 2);
  byId('filter').oninput = refilter;
  byId('list').onscroll = rows;
  window.onresize = () => { draw(); rows(); };
  window.onkeydown = event => {
    if (event.target === byId('filter')) return;
    const move = { ArrowLeft: -0.2, ArrowRight: 0.2 }[event.key];
    if (move) look(from + move * (to - from), to + move * (to - from));
    if (event.key === '+') zoom(0.5, (from + to) / 2);
    if (event.key === '-') zoom(2, (from + to) / 2);
  };
}

about();
listen();
refilter();
look(0, end);
byId('list').scrollTop = data.violations.length > 0 ? list.length * 18 : 0;
</script>
</body>
</html>
)page";

}  // namespace varve::sim
