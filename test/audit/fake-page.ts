/** As much of a browser as the player of a replay needs: elements with classes, events, and frames that a test asks for. */
import { createContext, Script } from 'node:vm';

class FakeElement {
  readonly classes = new Set<string>();
  readonly listeners = new Map<string, () => void>();
  readonly dataset: Record<string, string> = {};
  textContent = '';
  value = '';
  checked = false;
  hidden = false;
  disabled = false;
  readonly classList = {
    add: (name: string) => void this.classes.add(name),
    remove: (name: string) => void this.classes.delete(name),
    contains: (name: string) => this.classes.has(name),
    toggle: (name: string, isOn: boolean) => void (isOn ? this.classes.add(name) : this.classes.delete(name)),
  };

  constructor(tag: string, text = '') {
    for (const [, name = '', value = ''] of tag.matchAll(/ data-([a-z]+)="([^"]*)"/g)) this.dataset[name] = value;
    this.value = / value="([^"]*)"/.exec(tag)?.[1] ?? '';
    this.checked = / checked/.test(tag);
    this.hidden = / hidden/.test(tag);
    this.textContent = text;
  }

  addEventListener(name: string, listener: () => void): void {
    this.listeners.set(name, listener);
  }

  scrollIntoView(): void {}
}

/** Runs the page's own script over what stands in its markup. */
export function openPage(html: string) {
  const elements = new Map([...html.matchAll(/<[a-z]+ id="([a-z]+)"[^>]*>/g)].map(([tag, id = '']) => [id, new FakeElement(tag)]));
  const at = (id: string): FakeElement => {
    const found = elements.get(id);
    if (found === undefined) throw new Error(`the page has no #${id}`);
    return found;
  };
  at('speed').value = '1';
  const main = html.slice(html.indexOf('<main>'), html.indexOf('</main>'));
  const pieces = [...main.matchAll(/(<div [^>]*>)([^]*?)<\/div>/g)].map(([, tag = '', text = '']) => {
    return new FakeElement(tag, text.replaceAll(/<[^>]*>/g, '').replaceAll('&lt;', '<').replaceAll('&gt;', '>'));
  });
  let frame: ((now: number) => void) | undefined;
  let now = 1000;
  const document = {
    getElementById: (id: string) => elements.get(id) ?? null,
    querySelectorAll: (selector: string) => (selector === 'main > div' ? pieces : []),
  };
  const requestAnimationFrame = (callback: (at: number) => void) => {
    frame = callback;
    return 1;
  };
  const cancelAnimationFrame = () => (frame = undefined);
  const script = /<script>([^]*)<\/script>/.exec(html)?.[1] ?? '';
  new Script(script).runInContext(createContext({ document, requestAnimationFrame, cancelAnimationFrame, scrollTo: () => undefined }));
  return {
    at,
    fire: (id: string, event: string) => at(id).listeners.get(event)?.(),
    press: (id: string) => at(id).listeners.get('click')?.(),
    /** The numbers of the pieces that can be seen. */
    shown: () => pieces.flatMap(({ classes }, index) => (classes.has('ahead') || classes.has('other') ? [] : [index])),
    here: () => pieces.findIndex(({ classes }) => classes.has('here')),
    /** Lets so much time go by, in frames of at most 10 ms. */
    run(ms: number) {
      const end = now + ms;
      while (now < end) {
        now = Math.min(end, now + 10);
        const callback = frame;
        frame = undefined;
        callback?.(now);
      }
    },
  };
}
