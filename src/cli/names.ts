import { CommandFailed, Exit } from './exits.js';

/** The service and the id in "SERVICE/ID". Throws CommandFailed. */
export function instanceNamed(name: string): { readonly service: string; readonly id: string } {
  const at = name.indexOf('/');
  if (at <= 0 || at === name.length - 1)
    throw new CommandFailed(`${JSON.stringify(name)} must be SERVICE/ID, such as pay/p1`, Exit.USAGE);
  return { service: name.slice(0, at), id: name.slice(at + 1) };
}

/** The service in "SERVICE", or both in "SERVICE/ID"; what is not named is empty. Throws CommandFailed. */
export const serviceOrInstanceNamed = (name: string): { readonly service: string; readonly id: string } =>
  name.includes('/') ? instanceNamed(name) : { service: name, id: '' };
