/** The relay alone as a process of its own, so that a test can measure it, kill it, and read all that it says. */
import { loadRelayConfig } from '../../src/relay/config.ts';
import { createRelayLog } from '../../src/relay/relay-log.ts';
import { startRelay } from '../../src/relay/relay.ts';
import { parserWorker } from './parser-worker.ts';

const [configFile = '', port = '0'] = process.argv.slice(2);
const config = await loadRelayConfig(configFile);
const relay = await startRelay({ ...config, listen: { ...config.listen, port: Number(port) } }, createRelayLog('debug'), parserWorker);
process.stdout.write(`${JSON.stringify({ url: relay.url, port: relay.port })}\n`);
const stop = () => void relay.stop().then(() => process.exit(0));
process.once('SIGTERM', stop);
// Nothing of it outlives the test run that started it.
process.stdin.once('close', () => process.exit(0)).resume();
