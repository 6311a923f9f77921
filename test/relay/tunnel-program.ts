/** The local end of `gate connect` alone as a process of its own, so that a test can kill it. */
import { startLocalPort } from '../../src/client/local-port.ts';

const [relay = '', session = '', accessToken = '', port = '0'] = process.argv.slice(2);
const local = await startLocalPort({
  relay,
  session,
  accessToken: () => Promise.resolve(accessToken),
  listen: { port: Number(port) },
  onBroken: () => undefined,
});
process.stdout.write(`${local.port}\n`);
// Nothing of it outlives the test run that started it.
process.stdin.once('close', () => process.exit(0)).resume();
