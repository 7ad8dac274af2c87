import type { JsonObject } from '@bufbuild/protobuf';
import { bracketed } from '../../base/hosts.js';
import type { Instance } from '../../gen/rollcall/v1/instance.js';
import {
  DiscoverRequest,
  DiscoverResponse,
  ListNamespacesRequest,
  ListNamespacesResponse,
  ListServicesRequest,
  ListServicesResponse,
} from '../../gen/rollcall/v1/registry_service.js';

/** Makes a call of RegistryService: the bytes of the answer to a request. Rejects with the Failure. */
export type RegistryCall = (method: string, request: Uint8Array) => Promise<Uint8Array>;

/** The namespace and the service that the answer is about; `undefined` for all. */
export interface Scope {
  readonly namespace: string | undefined;
  readonly service: string | undefined;
}

/** One entry of the answer: a target and its labels. */
interface TargetGroup {
  readonly targets: readonly string[];
  readonly labels: JsonObject;
}

/** The instances as Prometheus reads them: https://prometheus.io/docs/prometheus/latest/http_sd/. */
export async function prometheusTargets(call: RegistryCall, scope: Scope): Promise<TargetGroup[]> {
  const groups: TargetGroup[] = [];
  for (const namespace of scope.namespace === undefined ? await namespacesOf(call) : [scope.namespace]) {
    const services = scope.service === undefined ? await servicesOf(call, namespace) : [scope.service];
    for (const service of services) {
      const request = DiscoverRequest.encode(DiscoverRequest.fromPartial({ namespace, service })).finish();
      const { instances } = DiscoverResponse.decode(await call('Discover', request));
      // Prometheus would try in vain to read from one without a port.
      groups.push(...instances.filter(({ port }) => port !== 0).map(toTarget));
    }
  }
  return groups;
}

async function namespacesOf(call: RegistryCall): Promise<string[]> {
  const found: string[] = [];
  for (let pageToken = ''; ;) {
    const request = ListNamespacesRequest.encode(ListNamespacesRequest.fromPartial({ pageToken })).finish();
    const page = ListNamespacesResponse.decode(await call('ListNamespaces', request));
    found.push(...page.namespaces.map(({ namespace }) => namespace));
    if (page.nextPageToken === '') return found;
    pageToken = page.nextPageToken;
  }
}

async function servicesOf(call: RegistryCall, namespace: string): Promise<string[]> {
  const found: string[] = [];
  for (let pageToken = ''; ;) {
    const request = ListServicesRequest.encode(ListServicesRequest.fromPartial({ namespace, pageToken })).finish();
    const page = ListServicesResponse.decode(await call('ListServices', request));
    found.push(...page.services.map(({ service }) => service));
    if (page.nextPageToken === '') return found;
    pageToken = page.nextPageToken;
  }
}

function toTarget(instance: Instance): TargetGroup {
  const { namespace, service, id, version, address, port, tags, metadata, locality } = instance;
  const labels: Record<string, string> = {
    __meta_rollcall_namespace: namespace,
    __meta_rollcall_service: service,
    __meta_rollcall_id: id,
    __meta_rollcall_version: version,
    // Commas at both ends, so that a rule can look for ",blue,".
    __meta_rollcall_tags: tags.length > 0 ? `,${tags.join(',')},` : '',
    __meta_rollcall_region: locality?.region ?? '',
    __meta_rollcall_zone: locality?.zone ?? '',
  };
  for (const [name, value] of metadata) labels[`__meta_rollcall_metadata_${name.replace(/\W/g, '_')}`] = value;
  return { targets: [`${bracketed(address)}:${port}`], labels };
}
