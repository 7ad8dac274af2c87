import { Registration, type RegistrationEvent } from '../../client/registration.js';
import { Liveness } from '../../gen/rollcall/v1/instance.js';
import { CommandFailed, Exit } from '../exits.js';
import { warn } from '../output.js';
import type { Session } from '../session.js';

/** Registers an instance and beats for it until the command is ended. An instance that needs no heartbeats is left alone. */
export async function keepRegistered(
  { client, signal, say, show }: Session<unknown>,
  fields: ConstructorParameters<typeof Registration>[1],
): Promise<void> {
  let isFailing = false;
  let over: Extract<RegistrationEvent, { kind: 'over' }> | undefined;
  const registration = new Registration(client, fields, {
    onEvent: (event) => {
      if (event.kind === 'failed') warn(`a call failed and is repeated: ${event.error.message}`);
      else if (isFailing && event.kind !== 'over') warn('a server answers again');
      isFailing = event.kind === 'failed';
      if (event.kind === 'over') over = event;
    },
  });
  const stopped = new Promise<undefined>((resolve) =>
    signal.addEventListener('abort', () => resolve(undefined), { once: true }),
  );
  const instance = await Promise.race([registration.start(), stopped]);
  if (!instance) return registration.close(); // no server has answered yet
  const { service, id } = instance;
  const isStatic = instance.liveness === Liveness.LIVENESS_STATIC;
  await show('registry.getInstance', { instance, revision: instance.revision, staleFor: undefined }, () =>
    isStatic
      ? `${service}/${id} is registered and needs no heartbeats; "rollcall deregister ${service}/${id}" removes it\n`
      : `${service}/${id} is registered; Ctrl-C removes it\n`,
  );
  if (isStatic) return;
  await Promise.race([stopped, registration.ended()]);
  if (over) throw new CommandFailed(`the registration is over: ${over.message} (${over.reason})`, Exit.CONFLICT);
  await registration.close();
  say(`${service}/${id} is removed\n`);
}
