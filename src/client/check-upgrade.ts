/** Whether WebSocket upgrades get through to the relay: one without a token must meet the relay's own refusal. */
import type { IncomingMessage } from 'node:http';
import { ErrorBody } from '../api/api.ts';
import { isErrorCode } from '../errors/errors.ts';
import { describeNetworkFailure } from '../oidc/network-failure.ts';
import { requestUpgrade } from '../tunnel/handshake.ts';
import { failed, ok, type Finding } from './check-step.ts';

const handshakeMsMax = 10_000;
const answerBytesMax = 64 * 1024;

const passUpgradesOn =
  'The proxy before the relay must pass upgrades on; in nginx: proxy_http_version 1.1; ' +
  'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";';

/** `relay` without a trailing slash. The request names no session of anybody and carries no token. */
export async function checkUpgrade(relay: string): Promise<Finding> {
  const answer = await askForUpgrade(`${relay.replace(/^http/, 'ws')}/v1/sessions/doctor/tunnel`);
  if (answer instanceof Error) {
    return failed('relay-unreachable', `no upgrade: ${describeNetworkFailure(answer).reason}`, passUpgradesOn);
  }
  const { status, text } = answer;
  if (status === 101) {
    return failed('protocol-violation', 'a tunnel was opened without a token: this is not a gate relay', 'Check the address in --relay or GATE_RELAY.');
  }
  const code = errorCodeOf(text);
  switch (code) {
    case 'login-required':
      return ok('upgrades reach the relay, which asks for a token as it must');
    case 'relay-stopping':
      return failed('relay-stopping', 'the relay is stopping', 'Try again in a moment.');
    case 'not-found':
      // The relay's pages answer so, and they are asked only where the request came without its upgrade.
      return failed('relay-unreachable', 'something on the way strips the upgrade from the request, so no tunnel can open', passUpgradesOn);
    case undefined:
      return failed('relay-unreachable', `something else than the relay answered the upgrade, with status ${status}`, passUpgradesOn);
    default:
      return failed(isErrorCode(code) ? code : 'relay-unreachable', `the relay refuses upgrades with ${code}`, 'Tell whoever runs the relay; its log says more.');
  }
}

type UpgradeAnswer = { readonly status: number; readonly text: string };

async function askForUpgrade(url: string): Promise<UpgradeAnswer | Error> {
  try {
    const answer = await requestUpgrade({ url, timeoutMs: handshakeMsMax });
    if ('response' in answer) return { status: answer.response.statusCode ?? 0, text: await readText(answer.response) };
    answer.socket.destroy();
    return { status: 101, text: '' };
  } catch (error) {
    return error as Error;
  }
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > answerBytesMax) break;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function errorCodeOf(text: string): string | undefined {
  try {
    return ErrorBody.parse(JSON.parse(text)).error.code;
  } catch {
    return undefined;
  }
}
