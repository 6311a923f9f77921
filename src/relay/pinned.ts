/** Settings that the server reports, and that must stay what the relay has set them to. */
import { GateError } from '../errors/errors.ts';
import { decodeParameterStatus } from '../pgwire/backend.ts';
import { isSameSetting, pinnedSettings } from '../sql/settings.ts';

/** From here on the server would read text differently from the relay: nothing more may be forwarded. */
export function checkPinned(bytes: Buffer, isReadOnly: boolean): void {
  const { name, value } = decodeParameterStatus(bytes);
  if (isReadOnly && name === 'default_transaction_read_only' && value !== 'on') {
    throw new GateError('denied', 'the session left read-only mode', {
      rule: 'read-only',
      hint: 'A function changed default_transaction_read_only, which this role may not.',
    });
  }
  const pinned = pinnedSettings.get(name);
  if (pinned !== undefined && !isSameSetting(value, pinned)) {
    throw new GateError('denied', `the server's ${name} was changed to ${value}`, {
      rule: 'pinned-settings',
      hint: 'It decides how the server reads SQL text, which must be exactly as the relay reads it.',
    });
  }
}
