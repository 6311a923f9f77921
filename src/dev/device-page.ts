/** Answers a device-code login on the demo provider's real pages, as a person with a browser would. */
import { GateError } from '../errors/errors.ts';

export type DeviceAnswer = {
  readonly verificationUri: string;
  readonly userCode: string;
  /** The name on the button of the account page. */
  readonly account: string;
  readonly decision: 'approve' | 'deny';
};

const PAGES_MAX = 20;
const PAGE_TIMEOUT_MS = 30_000;

/**
 * Resolves when the page says how it ended. A denial is pressed on the last page, after the account was chosen.
 * Fails with `login-failed` when the code or the account is unknown, with `usage` for a provider elsewhere:
 * this clicks "approve" unseen, which is right for a demo only.
 */
export async function approveDevice(answer: DeviceAnswer): Promise<void> {
  const start = new URL(answer.verificationUri);
  if (!['127.0.0.1', 'localhost', '[::1]'].includes(start.hostname)) {
    throw new GateError('usage', `Only a provider on this machine can be answered by itself, not ${start.host}.`, {
      hint: 'Run: gate login',
    });
  }
  const browser = new Browser(start.origin);
  let page = await browser.open(start);
  for (let visited = 0; visited < PAGES_MAX; visited += 1) {
    const outcome = /data-outcome="(\w+)"/.exec(page.text)?.[1];
    if (outcome === 'approved' || outcome === 'denied') return expectOutcome(outcome, answer);
    if (outcome === 'failed') throw failed(textOf(page.text));
    page = await browser.submit(page, fillIn(page, answer));
  }
  throw failed('the provider asked for too many pages');
}

function expectOutcome(outcome: 'approved' | 'denied', answer: DeviceAnswer): void {
  const wanted = answer.decision === 'approve' ? 'approved' : 'denied';
  if (outcome !== wanted) throw failed(`the login was ${outcome}`);
}

function failed(reason: string): GateError {
  return new GateError('login-failed', `The login could not be answered on the provider's page: ${reason}.`);
}

type Page = { readonly url: URL; readonly text: string };
type Field = { readonly name: string; readonly value: string };
type Request = { readonly method: string; readonly body?: URLSearchParams; readonly headers?: Record<string, string> };
type Submission = { readonly action: URL; readonly fields: readonly Field[] };

/** What a person would do on this page: type the code, choose the account, or press a button. */
function fillIn(page: Page, answer: DeviceAnswer): Submission {
  const form = /<form\b([^>]*)>([\s\S]*?)<\/form>/i.exec(page.text);
  if (form === null) throw failed(`there is nothing to fill in on ${page.url.pathname}`);
  const [, formTag = '', inside = ''] = form;
  const fields = [...inside.matchAll(/<input\b[^>]*>/gi)]
    .map(([tag]) => ({ name: attribute(tag, 'name') ?? '', value: attribute(tag, 'value') ?? '' }))
    .filter(({ name }) => name !== '')
    .map((field) => (field.name === 'user_code' ? { name: 'user_code', value: answer.userCode } : field));
  const buttons = [...inside.matchAll(/<button\b[^>]*>/gi)]
    .map(([tag]) => ({ name: attribute(tag, 'name') ?? '', value: attribute(tag, 'value') ?? '' }))
    .filter(({ name }) => name !== '');
  const wanted = [
    { name: 'account', value: answer.account },
    { name: 'decision', value: answer.decision },
  ];
  const isWanted = (button: Field): boolean =>
    wanted.some(({ name, value }) => name === button.name && value === button.value);
  const pressed = buttons.find(isWanted);
  if (buttons.length > 0 && pressed === undefined) {
    throw failed(`there is no account ${answer.account}, only ${buttons.map(({ value }) => value).join(', ')}`);
  }
  const action = new URL(attribute(formTag, 'action') ?? page.url.href, page.url);
  return { action, fields: pressed === undefined ? fields : [...fields, pressed] };
}

function attribute(tag: string, name: string): string | undefined {
  const value = new RegExp(`\\s${name}="([^"]*)"`, 'i').exec(tag)?.[1];
  return value
    ?.replaceAll(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)))
    .replaceAll('&amp;', '&');
}

function textOf(markup: string): string {
  const body = /<main[^>]*>([\s\S]*?)(?:<form|<\/main)/.exec(markup)?.[1] ?? markup;
  return body.replaceAll(/<[^>]*>/g, ' ').replaceAll(/\s+/g, ' ').trim().replace(/\.$/, '');
}

/** Cookies, redirects and forms on one origin. */
class Browser {
  readonly #origin: string;
  #cookies: { name: string; value: string; path: string }[] = [];

  constructor(origin: string) {
    this.#origin = origin;
  }

  open(url: URL): Promise<Page> {
    return this.#request(url, { method: 'GET' });
  }

  submit(page: Page, { action, fields }: Submission): Promise<Page> {
    const body = new URLSearchParams();
    for (const { name, value } of fields) body.append(name, value);
    return this.#request(action, { method: 'POST', body, headers: { origin: page.url.origin } });
  }

  async #request(url: URL, init: Request): Promise<Page> {
    let [target, request] = [url, init];
    for (let hops = 0; hops < PAGES_MAX; hops += 1) {
      if (target.origin !== this.#origin) throw failed(`the provider sends to another host (${target.host})`);
      const response = await fetch(target, {
        ...request,
        headers: { ...request.headers, accept: 'text/html', cookie: this.#cookieHeader(target) },
        redirect: 'manual',
        signal: AbortSignal.timeout(PAGE_TIMEOUT_MS),
      });
      this.#remember(response.headers.getSetCookie(), target);
      const location = response.headers.get('location');
      if (location === null) return { url: target, text: await response.text() };
      await response.body?.cancel();
      [target, request] = [new URL(location, target), { method: 'GET' }];
    }
    throw failed('the provider redirects in a circle');
  }

  #cookieHeader(url: URL): string {
    return this.#cookies
      .filter(({ path }) => url.pathname === path || url.pathname.startsWith(path.endsWith('/') ? path : `${path}/`))
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
  }

  #remember(headers: readonly string[], url: URL): void {
    for (const header of headers) {
      const [pair = '', ...attributes] = header.split(';').map((part) => part.trim());
      const [name, value] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)];
      const path = attributes.find((part) => /^path=/i.test(part))?.slice(5) ?? url.pathname;
      const expires = attributes.find((part) => /^expires=/i.test(part))?.slice(8);
      this.#cookies = this.#cookies.filter((cookie) => cookie.name !== name || cookie.path !== path);
      if (expires === undefined || Date.parse(expires) > Date.now()) this.#cookies.push({ name, value, path });
    }
  }
}
