/** What a target's password comes to with the salt of its server, so that not every login there computes it anew. */
import { saltPassword } from '../pgwire/scram.ts';
import type { Target } from './config.ts';

type Salted = { readonly password: string; readonly salt: Buffer; readonly iterations: number; readonly key: Buffer };

/** One for each target as configured, for as long as that is: a server that changes its salt costs the time again. */
const kept = new WeakMap<Target, Salted>();

/** For logins at this target. What is kept is as secret as the password, which the relay holds as well. */
export function saltFor(target: Target): typeof saltPassword {
  return (password, salt, iterations) => {
    const known = kept.get(target);
    if (known?.password === password && known.iterations === iterations && known.salt.equals(salt)) return known.key;
    const key = saltPassword(password, salt, iterations);
    kept.set(target, { password, salt, iterations, key });
    return key;
  };
}
