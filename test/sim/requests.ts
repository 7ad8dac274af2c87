import { validateRegister } from '../../src/api/registry/validation.js';
import { addressFor } from '../support/addresses.js';
import { RegisterRequest } from '../../src/gen/rollcall/v1/registry_service.js';

/**
 * What a Register of an instance comes to behind the API; `replaces`: the revision that it may take the place of; `place`: what
 * its address is made of; `parts`: further fields of the instance.
 */
export function registrationOf(
  key: string,
  incarnation: string,
  ttlMs: number,
  replaces?: bigint,
  place = key,
  parts: object = {},
): ReturnType<typeof validateRegister>['registration'] {
  const [, , , service, id] = key.split('/');
  const ttl = { seconds: BigInt(ttlMs / 1000), nanos: 0 };
  const request = RegisterRequest.fromPartial({
    instance: { service: service!, id: id!, address: addressFor(place), port: 80, ttl, ...parts },
    incarnation,
    ...(replaces !== undefined && { replacesRevision: replaces }),
  });
  return validateRegister(request, '10.0.0.1').registration;
}
