"""The style of all pages, for light and dark screens, from a phone's width on."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #5f6368; --line: #dddddd;
  --back: #f5f6f8; --paper: #ffffff; --track: #e4e6ea;
  --blue: #0072b2; --green: #009e73; --red: #d55e00; --purple: #a8508c; --grey: #8a8f96; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a5aab0; --line: #3c4043;
  --back: #22252a; --paper: #17191c; --track: #363a40;
  --blue: #56b4e9; --green: #2fc39a; --red: #f08a4b; --purple: #d58cc0; --grey: #9aa0a6; }
  /* Charts are drawn for white paper: turn their lightness round and keep their hues. */
  .charts img, .scroll > img { filter: invert(.9) hue-rotate(180deg); } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 16px 56px; max-width: 1240px; color: var(--ink);
  background: var(--paper);
  font: 15px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 40px 0 12px; padding-bottom: 4px; font-size: 1.25rem;
  border-bottom: 2px solid var(--line); overflow-wrap: anywhere; }
h3 { margin: 0 0 4px; font-size: 1rem; }
p, figcaption { margin: 4px 0 12px; color: var(--soft); max-width: 80ch; }
a { color: var(--blue); }
.facts { max-width: none; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 8px 0 0; font-size: .9rem; }
figure { margin: 0; min-width: 0; }
figcaption { margin: 4px 0 0; font-size: .85rem; }
img { display: block; max-width: 100%; height: auto; }
small { display: block; color: var(--soft); font-size: .78rem; font-weight: normal; }

.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 265px), 1fr));
  gap: 14px; margin: 14px 0; }
.card { padding: 14px 16px; border-radius: 10px; background: var(--back); min-width: 0; }
.card h3 { color: var(--soft); font-size: .88rem; font-weight: 600; }
.big { margin: 0 0 8px; color: var(--ink); font-size: 2rem; font-weight: 650; line-height: 1.2; }
.big small { display: inline; font-size: .85rem; }
.pairs { display: grid; grid-template-columns: 1fr auto; gap: 3px 14px; margin: 0;
  font-size: .9rem; font-variant-numeric: tabular-nums; }
.pairs dt { color: var(--soft); }
.pairs dd { margin: 0; text-align: right; font-weight: 600; }

.bars { margin: 4px 0; font-variant-numeric: tabular-nums; }
.bars div { display: flex; flex-wrap: wrap; justify-content: space-between;
  align-items: baseline; gap: 2px 12px; }
.bars div + div { margin-top: 9px; }
.bars small { flex: 0 0 100%; }
.bars dd { margin: 0; font-weight: 650; }
.bars .bar { flex: 0 0 100%; height: 14px; border-radius: 3px; background: var(--track);
  overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--blue); }
.stack { display: flex; height: 18px; margin: 2px 0 10px; border-radius: 3px; overflow: hidden;
  background: var(--track); }
.stack i { display: block; height: 100%; }
.key { display: inline-block; width: 10px; height: 10px; margin-right: 7px; border-radius: 2px; }

.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr));
  gap: 28px 24px; margin-bottom: 20px; }
.charts img { width: 100%; max-width: 500px; }
.scroll { overflow-x: auto; }
.scroll + .charts { margin-top: 18px; }
.low { max-height: 420px; overflow-y: auto; }
.scroll > img { width: 100%; min-width: 720px; }

table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.plain { width: 100%; }
.plain th, .plain td { padding: 6px 10px 6px 0; text-align: right; vertical-align: bottom;
  white-space: nowrap; font-size: .88rem; border-bottom: 1px solid var(--line); }
.plain th { color: var(--soft); font-weight: 600; white-space: normal; }
.plain tr > :first-child { position: sticky; left: 0; z-index: 1; text-align: left;
  background: var(--paper); }
.plain tr > :last-child { padding-right: 0; }
.dense th, .dense td { padding-right: 9px; font-size: .8rem; }
.low thead th { position: sticky; top: 0; z-index: 2; background: var(--paper); }
.plain .none td { color: var(--soft); }
.plain .chosen { font-weight: 700; }
.plain .up { color: var(--green); font-weight: 600; }
.plain .down { color: var(--red); font-weight: 600; }
.samples { width: 100%; table-layout: fixed; }
.samples th, .samples td { padding: 0 8px 12px 0; text-align: left; vertical-align: top;
  font-size: .88rem; overflow-wrap: anywhere; }
.samples tr > :first-child { position: sticky; left: 0; z-index: 1; background: var(--paper); }
.samples tr > :last-child { padding-right: 0; }
.samples svg { max-width: 260px; margin-bottom: 3px; }
.marks { display: block; width: 100%; }
.marks rect { fill: none; stroke-width: 1.6; vector-effect: non-scaling-stroke; }
.marks .rim { stroke: black; stroke-opacity: .55; stroke-width: 3.6; }
.marks circle { stroke: black; stroke-width: 1; vector-effect: non-scaling-stroke; }
.sharp, .sharp image, .sharp use { image-rendering: pixelated; }

.worst { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  gap: 14px; }
.worst p { margin: 0 0 10px; font-size: .88rem; }
.worst h3 { display: flex; justify-content: space-between; gap: 12px; color: var(--ink);
  font-size: 1.05rem; overflow-wrap: anywhere; }
.strip { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 6px; }
.strip img { width: 100%; border-radius: 3px; }
.strip img + img { margin-top: 4px; }

@media (max-width: 700px) { .samples tr > :first-child { width: 104px; }
  .big { font-size: 1.7rem; } .plain tr > :first-child { max-width: 40vw; white-space: normal; } }
summary { cursor: pointer; color: var(--soft); }
pre { overflow-x: auto; padding: 14px; border-radius: 8px; background: var(--back);
  font-size: .85rem; }
"""
"""Loads nothing. Pages of several pictures beside each other use `charts`, `cards` and `scroll`."""
