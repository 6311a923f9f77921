/** A receiver of notifications on loopback that a test can have fail, hang, redirect or break off. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export type Received = { readonly path: string; readonly headers: IncomingHttpHeaders; readonly body: string; readonly at: number };

export type Receiver = {
  readonly url: URL;
  readonly port: number;
  readonly received: Received[];
  /** Most requests that were open at one time. */
  readonly openMost: number;
  close(): Promise<void>;
};

/** `answer` gets the number of the request, from 1. Closed with the test. */
export async function startReceiver(answer: (response: ServerResponse, number: number) => void, port = 0): Promise<Receiver> {
  const received: Received[] = [];
  let open = 0;
  let openMost = 0;
  const server = createServer((request, response) => {
    open += 1;
    openMost = Math.max(openMost, open);
    response.on('close', () => (open -= 1));
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      received.push({ path: request.url ?? '', headers: request.headers, body, at: Date.now() });
      answer(response, received.length);
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  onTestFinished(close);
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: new URL(`http://127.0.0.1:${bound}/hook/path-canary-5512`),
    port: bound,
    received,
    get openMost() {
      return openMost;
    },
    close,
  };
}

export const status = (code: number, headers: Record<string, string> = {}) => (response: ServerResponse) => {
  response.writeHead(code, headers).end('thanks');
};
