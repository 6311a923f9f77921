/** Takes apart where a connection came from, as the relay's socket gave it: an address, a colon and a port. */

/** `address` as it was recorded; `ip` without zone and IPv4-mapping, and only where it is one. */
export type Source = { readonly address: string; readonly ip?: string; readonly port?: number };

export function parseSource(address: string): Source {
  const bracketed = /^\[(.+)\](?::(\d{1,5}))?$/.exec(address);
  if (bracketed) return sourceOf(address, bracketed[1], bracketed[2]);
  const [, head, tail] = /^(.*):(\d{1,5})$/.exec(address) ?? [];
  // The relay always adds the port, so that `fe80::1:5000` is port 5000 of fe80::1; but `::1` alone has none.
  const withPort = sourceOf(address, head, tail);
  return withPort.ip === undefined ? sourceOf(address, address, undefined) : withPort;
}

function sourceOf(address: string, host: string | undefined, port: string | undefined): Source {
  const ip = ipOf(host ?? '');
  if (ip === undefined) return { address };
  const number = Number(port);
  return { address, ip, ...(port !== undefined && number <= 65_535 && { port: number }) };
}

function ipOf(host: string): string | undefined {
  const plain = host.replace(/%.*$/, '').replace(/^::ffff:(?=\d+\.)/i, '');
  if (/^\d{1,3}(?:\.\d{1,3}){3}$/.test(plain)) return URL.canParse(`http://${plain}/`) ? plain : undefined;
  return /^[0-9a-f:.]*:[0-9a-f:.]*$/i.test(plain) && URL.canParse(`http://[${plain}]/`) ? plain : undefined;
}
