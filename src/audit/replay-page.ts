/** The look and the player of a replay as HTML: its style and its script, which change nothing but what is shown. */

/** Colours by the reader's own choice of dark or light. Every span is isolated, so that no text reorders its neighbours. */
export const pageStyle = `
:root { color-scheme: light dark; --back: #fff; --text: #1f2328; --faint: #636c76; --line: #d0d7de;
  --blue: #0550ae; --green: #116329; --red: #b3121f; --amber: #7d4e00; --here: #fff3c4; }
@media (prefers-color-scheme: dark) { :root { --back: #0d1117; --text: #e6edf3; --faint: #9198a1; --line: #30363d;
  --blue: #79c0ff; --green: #56d364; --red: #ff8a80; --amber: #e3b341; --here: #3a2f0b; } }
body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
header, main { padding: 0 1.5rem; }
h1 { margin: 1rem 0 0; font-size: 1.3rem; }
header p { margin: 0.2rem 0; }
header, #controls { overflow-wrap: anywhere; }
#controls { position: sticky; top: 0; display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; align-items: center;
  padding: 0.5rem 1.5rem; background: var(--back); border-bottom: 1px solid var(--line); }
#controls[hidden], .ahead, .other { display: none; }
#controls input[type=number] { width: 5em; }
main { font: 13px/1.5 ui-monospace, monospace; padding-top: 0.75rem; padding-bottom: 4rem; }
main div { white-space: pre-wrap; overflow-wrap: anywhere; tab-size: 8; unicode-bidi: isolate; scroll-margin: 40vh 0; }
main div.result { white-space: pre; overflow-x: auto; }
main div[data-mark] { border-left: 3px solid var(--red); margin-left: -0.75rem; padding-left: calc(0.75rem - 3px); }
main div.here { background: var(--here); }
span, h1, p { unicode-bidi: isolate; }
.label, .sql { font-weight: bold; }
.time, .note { color: var(--faint); }
.prompt { color: var(--blue); }
.ok { color: var(--green); }
.error { color: var(--red); }
.refused { color: var(--red); font-weight: bold; }
.unknown { color: var(--amber); font-weight: bold; }
`;

/**
 * Plays by the clock of the frames, so that it rests while nobody looks. Reads the pieces from the page and sets
 * classes on them; it makes no markup and asks nothing of any server.
 */
export const pageScript = `
'use strict';
(() => {
  const find = (id) => document.getElementById(id);
  const [controls, play, speed, skip, cut, next, filter, place] =
    ['controls', 'play', 'speed', 'skip', 'cut', 'next', 'filter', 'place'].map(find);
  const pieces = [...document.querySelectorAll('main > div')];
  const last = pieces.length - 1;
  if (last < 0) return;
  const pauseOf = (piece) => Math.min(Number(piece.dataset.ms), skip.checked ? Math.max(0, Number(cut.value)) * 1000 : Infinity);
  let here = last;
  let waited = 0;
  let frame = 0;
  let before;

  function point(index, isShown) {
    pieces[here].classList.remove('here');
    here = index;
    if (isShown) pieces[here].classList.add('here');
    place.textContent = (here + 1) + ' of ' + pieces.length;
  }
  function stop() {
    cancelAnimationFrame(frame);
    frame = 0;
    play.textContent = here === last ? 'Play' : 'Go on';
  }
  function step(now) {
    waited += Math.min(250, now - (before ?? now)) * Number(speed.value);
    before = now;
    const from = here;
    while (here < last && waited >= pauseOf(pieces[here + 1])) {
      waited -= pauseOf(pieces[here + 1]);
      point(here + 1, true);
      pieces[here].classList.remove('ahead');
    }
    if (here !== from) pieces[here].scrollIntoView({ block: 'nearest' });
    if (here === last) stop();
    else frame = requestAnimationFrame(step);
  }
  function start() {
    if (here === last || !pieces[last].classList.contains('ahead')) {
      point(0, true);
      pieces.forEach((piece, index) => piece.classList.toggle('ahead', index > 0));
      scrollTo(0, 0);
    }
    waited = 0;
    before = undefined;
    play.textContent = 'Pause';
    frame = requestAnimationFrame(step);
  }
  play.addEventListener('click', () => (frame === 0 ? start() : stop()));
  find('all').addEventListener('click', () => {
    pieces.forEach((piece) => piece.classList.remove('ahead'));
    point(last, false);
    stop();
  });
  next.addEventListener('click', () => {
    const isMarked = (piece) => 'mark' in piece.dataset && !piece.classList.contains('other');
    const after = pieces.findIndex((piece, index) => index > here && isMarked(piece));
    const found = after === -1 ? pieces.findIndex(isMarked) : after;
    if (found === -1) return;
    point(found, true);
    waited = 0;
    pieces.forEach((piece, index) => index <= here && piece.classList.remove('ahead'));
    pieces[here].scrollIntoView({ block: 'center' });
    if (frame === 0) play.textContent = pieces[last].classList.contains('ahead') ? 'Go on' : 'Play';
  });
  filter.addEventListener('input', () => {
    const wanted = filter.value.toLowerCase();
    const has = (piece) => piece.textContent.toLowerCase().includes(wanted);
    const groups = new Set(pieces.filter(has).map((piece) => piece.dataset.statement));
    groups.delete(undefined);
    pieces.forEach((piece) => piece.classList.toggle('other', !groups.has(piece.dataset.statement) && !has(piece)));
  });
  point(last, false);
  next.disabled = !pieces.some((piece) => 'mark' in piece.dataset);
  controls.hidden = false;
})();
`;
