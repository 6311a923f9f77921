/** What a person sees at the demo provider: enter the code, confirm it, choose an account, approve or deny. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Account } from './accounts.ts';
import { html, Html, page, PAGE_HEADERS, type Outcome } from './html.ts';
import type { OidcContext, OidcProvider } from './provider-library.ts';

const BODY_BYTES_MAX = 4096;
const ENTER_CODE = 'Enter the code that your terminal shows.';

/** The sources that oidc-provider calls for the pages of the device flow; `form` is markup that it made. */
export const DEVICE_PAGES = {
  userCodeInputSource(ctx: OidcContext, form: string, _out?: unknown, error?: Error & { userCode?: string }): void {
    if (error?.name === 'AbortedError') return show(ctx, 'Access denied', DENIED, 'denied');
    const body = html`<p class="${error ? 'warn' : 'lead'}">${error ? explain(error) : ENTER_CODE}</p>
${new Html(form)}
<button class="main" type="submit" form="op.deviceInputForm">Continue</button>`;
    show(ctx, 'Connect a terminal', body, error ? 'failed' : 'open');
  },

  userCodeConfirmSource(ctx: OidcContext, form: string, client: Client, device: DeviceInfo, code: string): void {
    const body = html`<p><strong>${client.clientId}</strong> on a terminal asks to act for you.</p>
<code>${code}</code>
<p class="warn">Continue only if you started this yourself, just now, and your terminal shows this very code.</p>
<p><small>Asked from ${device.ip ?? 'an unknown address'}, ${device.ua ?? 'an unknown program'}.</small></p>
${new Html(form)}
<button class="main" type="submit" form="op.deviceConfirmForm">Continue</button>
<button class="deny" type="submit" form="op.deviceConfirmForm" name="abort" value="yes">Deny</button>`;
    show(ctx, 'Is this your code?', body);
  },

  successSource(ctx: OidcContext): void {
    show(ctx, 'Signed in', html`<p>You can close this page. Your terminal goes on by itself.</p>`, 'approved');
  },
} as const;

type Client = { readonly clientId: string };
type DeviceInfo = { readonly ip?: string; readonly ua?: string };

const DENIED = html`<p>Nothing was given to the terminal that asked. You can close this page.</p>`;

/** An error outside the device flow's own pages. */
export function renderErrorPage(ctx: OidcContext, out: { error: string; error_description?: string }): void {
  show(ctx, 'That did not work', html`<p>${out.error_description ?? out.error}</p>`, 'failed');
}

function show(ctx: OidcContext, title: string, body: Html, outcome: Outcome = 'open'): void {
  ctx.set(PAGE_HEADERS);
  ctx.body = page(title, body, outcome);
}

function explain(error: Error & { userCode?: string }): string {
  switch (error.name) {
    case 'NoCodeError':
      return ENTER_CODE;
    case 'NotFoundError':
      return 'This code is unknown. Compare it with your terminal.';
    case 'ExpiredError':
      return 'This code has expired. Start the login again.';
    case 'AlreadyUsedError':
      return 'This code was used already. Start the login again.';
    default:
      return 'The login could not be completed. Start it again.';
  }
}

type PageCall = {
  readonly provider: OidcProvider;
  readonly accounts: readonly Account[];
  readonly accountIdOf: (account: Account) => string;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
};

/** GET and POST of /interaction/<uid>: first which account, then approve or deny. */
export async function serveInteraction(call: PageCall): Promise<void> {
  const { provider, request, response } = call;
  try {
    const details = await provider.interactionDetails(request, response);
    if (request.method === 'POST') return await decide(call, details, await readForm(request));
    response.writeHead(200, PAGE_HEADERS);
    response.end(details.prompt.name === 'login' ? chooseAccountPage(call) : approvePage(call, details));
  } catch (error) {
    const text = error instanceof Error && 'error_description' in error ? String(error.error_description) : '';
    response.writeHead(400, PAGE_HEADERS);
    response.end(page('That did not work', html`<p>This login is over: ${text || 'start it again'}.</p>`, 'failed'));
  }
}

function chooseAccountPage({ accounts }: PageCall): string {
  const buttons = accounts.map(
    ({ name, fullName, email, groups }) =>
      html`<button type="submit" name="account" value="${name}"><strong>${name}</strong> · ${fullName}<br>
<small>${email} · ${groups.join(', ')}</small></button>`,
  );
  return page(
    'Who are you?',
    html`<p><small>A demo on this machine only: accounts have no passwords.</small></p>
<form method="post">
${buttons}
</form>`,
  );
}

type Details = Awaited<ReturnType<OidcProvider['interactionDetails']>>;

function approvePage(call: PageCall, details: Details): string {
  const account = call.accounts.find((candidate) => call.accountIdOf(candidate) === details.session?.accountId);
  return page(
    'Approve the login?',
    html`<p><strong>${details.params.client_id}</strong> will act as
<strong>${account?.fullName ?? 'an account that is gone'}</strong>
(${account?.name ?? '-'}; groups ${account?.groups.join(', ') ?? '-'}).</p>
<p><small>It asks for: ${details.params.scope ?? ''}</small></p>
<form method="post">
<button class="main" type="submit" name="decision" value="approve">Approve</button>
<button class="deny" type="submit" name="decision" value="deny">Deny</button>
</form>`,
  );
}

async function decide(call: PageCall, details: Details, form: URLSearchParams): Promise<void> {
  const { provider, request, response } = call;
  const finish = (result: object, merge: boolean): Promise<void> =>
    provider.interactionFinished(request, response, result, { mergeWithLastSubmission: merge });
  if (details.prompt.name === 'login') {
    const account = call.accounts.find((candidate) => candidate.name === form.get('account'));
    if (account === undefined) throw new Error('no such account');
    return finish({ login: { accountId: call.accountIdOf(account) } }, false);
  }
  if (form.get('decision') !== 'approve') {
    return finish({ error: 'access_denied', error_description: 'denied by the account holder' }, false);
  }
  const grant = new provider.Grant({ accountId: details.session?.accountId, clientId: details.params.client_id });
  grant.addOIDCScope(details.params.scope ?? 'openid');
  return finish({ consent: { grantId: await grant.save() } }, true);
}

async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new Error('the form is too large');
    chunks.push(chunk);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'));
}
