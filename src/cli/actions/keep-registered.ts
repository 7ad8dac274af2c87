import { CallError } from '../../client/call-error.js';
import { Registration, type RegistrationEvent } from '../../client/registration.js';
import { Liveness, ReportedState } from '../../gen/rollcall/v1/instance.js';
import { CommandFailed, Exit } from '../exits.js';
import { warn } from '../output.js';
import type { Session } from '../session.js';

/** Registers an instance and beats for it until the command is ended. An instance that needs no heartbeats is left alone. */
export async function keepRegistered(
  { client, signal, say, show }: Session<unknown>,
  fields: ConstructorParameters<typeof Registration>[1],
): Promise<void> {
  let over: Extract<RegistrationEvent, { kind: 'over' }> | undefined;
  const registration = new Registration(client, fields, {
    onEvent: (event) => {
      if (event.kind === 'failed') warn(`a call failed and is repeated: ${event.error.message}`);
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
      ? `${service}/${id} is registered and needs no heartbeats; "rollcall deregister ${service} ${id}" removes it\n`
      : `${service}/${id} is registered; Ctrl-C removes it\n`,
  );
  if (isStatic) return;
  await Promise.race([stopped, registration.ended()]);
  if (over) throw new CommandFailed(`the registration is over: ${over.message} (${over.reason})`, Exit.CONFLICT);
  await deregisterSoftly(registration, client, instance);
  say(`${service}/${id} is removed\n`);
}

/** Reports DRAINING, so that clients leave the instance, and removes it. */
async function deregisterSoftly(
  registration: Registration,
  client: Session<unknown>['client'],
  { namespace, service, id }: { namespace: string; service: string; id: string },
): Promise<void> {
  const { incarnation } = registration;
  const reported = { state: ReportedState.REPORTED_STATE_DRAINING, note: '' };
  try {
    await client.registry.heartbeat({ instances: [{ namespace, service, id, incarnation, reported }] });
  } catch (error) {
    if (!(error instanceof CallError)) throw error; // the Deregister itself comes next
  }
  await registration.close();
}
