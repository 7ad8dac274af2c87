import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemRandom } from '../../../../src/base/random.js';
import { PeerProofs, type PeerQuestion } from '../../../../src/domain/cluster/peer-proofs.js';
import { PeerSecret, renewSecret } from '../../../../src/domain/cluster/peer-secret.js';
import type { MemberRef } from '../../../../src/domain/health/peers.js';
import { PeerSecretRecord } from '../../../../src/gen/rollcall/storage/v1/records.js';
import { RollcallError } from '../../../../src/model/errors.js';
import { PEER_SECRET_KEY, PROOF_HEADERS } from '../../../../src/model/member.js';
import { putTxn } from '../../../../src/store/store.js';
import { SimProcess } from '../../../sim/process.js';
import { World } from '../../../sim/world.js';
import { MemoryStore } from '../../../support/memory-store.js';

const LAST_HEARD = '/rollcall.peer.v1.PeerService/LastHeard';
const question = (text: string, fields: Partial<PeerQuestion> = {}): PeerQuestion => ({
  ...{ path: LAST_HEARD, bytes: Buffer.from(text), readOnly: false },
  ...fields,
});

/** Members on one store. */
class Cluster {
  readonly world = new World();
  readonly clock = new SimProcess(this.world).clock;
  readonly store = new MemoryStore(this.clock, { exclusive: false });
  readonly members: MemberRef[] = [];

  join(id: string, epoch = BigInt(this.members.length + 1)): PeerProofs {
    const ref = { id, epoch };
    this.members.push(ref);
    return new PeerProofs({
      secret: new PeerSecret({ store: this.store, clock: this.clock, random: systemRandom }),
      self: () => ref,
      isMember: (other) => this.members.some((one) => one.id === other.id && one.epoch === other.epoch),
    });
  }
}

const refusedFor = (why: RegExp) => (error: unknown) =>
  error instanceof RollcallError && error.reason === 'PEER_NOT_PROVEN' && why.test(error.message);
const WRONG = refusedFor(/the proof is wrong/);
const AGAIN = refusedFor(/was asked before/);

test('A1: a question and its answer are proven between members that share a store and nothing else', async () => {
  const cluster = new Cluster();
  const [a, b] = [cluster.join('a'), cluster.join('b')];
  const { headers, proven } = await a.ask(question('who?'));
  const seen = await b.verify(question('who?'), headers);
  a.check(proven, Buffer.from('nobody'), b.answer(seen, Buffer.from('nobody')));
});

test('A1: a question that was changed on its way is refused, whatever the change', async () => {
  const cluster = new Cluster();
  const [a, b] = [cluster.join('a'), cluster.join('b')];
  cluster.join('c');
  const asked = question('who?');
  const { headers } = await a.ask(asked);
  const { from, number, proof } = PROOF_HEADERS;
  const flipped = `${headers[proof]!.startsWith('A') ? 'B' : 'A'}${headers[proof]!.slice(1)}`;
  for (const [changed, given] of [
    [question('who!'), headers],
    [question('who?', { path: '/rollcall.peer.v1.PeerService/HandOver' }), headers],
    [asked, { ...headers, [from]: 'c/3' }],
    [asked, { ...headers, [number]: '7' }],
    [asked, { ...headers, [proof]: flipped }],
    [asked, { ...headers, [proof]: headers[proof]!.slice(0, -1) }],
    [asked, { ...headers, [proof]: '' }],
  ] as const)
    await assert.rejects(b.verify(changed, given), WRONG);
  await b.verify(asked, headers); // none of these has used the number up
});

test('A1: a question without a proof, or with half of one or two, is refused', async () => {
  const cluster = new Cluster();
  const [a, b] = [cluster.join('a'), cluster.join('b')];
  const { headers } = await a.ask(question('who?'));
  const names = Object.values(PROOF_HEADERS);
  const without = names.map((name) => Object.fromEntries(Object.entries(headers).filter(([one]) => one !== name)));
  const doubled = names.map((name) => ({ ...headers, [name]: [headers[name]!, headers[name]!] }));
  const odd = ['0', '-1', '1e3', ' 1', '9'.repeat(16), ''].map((number) => ({
    ...headers,
    [PROOF_HEADERS.number]: number,
  }));
  for (const given of [{}, ...without, ...doubled, ...odd])
    await assert.rejects(b.verify(question('who?'), given), refusedFor(/carries no proof/));
});

test('A1: a question is answered once, and questions that overtake one another are all answered', async () => {
  const cluster = new Cluster();
  const [a, b] = [cluster.join('a'), cluster.join('b')];
  const asked = await Promise.all(Array.from({ length: 3_000 }, (_, i) => a.ask(question(String(i)))));
  const verify = (i: number): Promise<unknown> => b.verify(question(String(i)), asked[i]!.headers);
  for (let i = asked.length - 1; i >= 0; i--) await verify(i);
  for (const i of [0, 1, 1_500, 2_999]) await assert.rejects(verify(i), AGAIN);
  const first = await a.ask(question('late'));
  for (let i = 0; i < 10_000; i++) await b.verify(question('x'), (await a.ask(question('x'))).headers);
  await assert.rejects(b.verify(question('late'), first.headers), AGAIN);
});

test('A1: a question of one that is no member, or was one, is refused, unless its answer changes nothing', async () => {
  const cluster = new Cluster();
  const [a, b] = [cluster.join('a'), cluster.join('b')];
  const before = await a.ask(question('before'));
  cluster.members.shift();
  for (const { headers } of [before, await a.ask(question('before'))])
    await assert.rejects(b.verify(question('before'), headers), refusedFor(/not a member/));
  const status = question('status', { readOnly: true });
  const { headers } = await a.ask(status);
  await b.verify(status, headers);
  await assert.rejects(b.verify(status, headers), AGAIN);
});

test('A1: an answer belongs to its question, and to nothing else', async () => {
  const cluster = new Cluster();
  const [a, b] = [cluster.join('a'), cluster.join('b')];
  const answer = Buffer.from('silent');
  const [first, second] = [await a.ask(question('1')), await a.ask(question('2'))];
  const proof = b.answer(await b.verify(question('1'), first.headers), answer);
  assert.throws(() => a.check(second.proven, answer, proof), /not proven/);
  assert.throws(() => a.check(first.proven, Buffer.from('heard'), proof), /not proven/);
  assert.throws(() => a.check(first.proven, answer, undefined), /not proven/);
  assert.throws(() => a.check(first.proven, answer, first.headers[PROOF_HEADERS.proof]), /not proven/);
  a.check(first.proven, answer, proof);
});

test('A1: members find a new secret by themselves, and a copy of the old one then proves nothing', async () => {
  const cluster = new Cluster();
  const [a, b] = [cluster.join('a'), cluster.join('b')];
  const ask = async (by: PeerProofs, of: PeerProofs, text: string): Promise<void> => {
    await of.verify(question(text), (await by.ask(question(text))).headers);
  };
  await ask(a, b, 'with the old one');
  await ask(b, a, 'with the old one');
  const stolen = await a.ask(question('stolen'));
  await renewSecret(cluster.store, systemRandom);
  await ask(a, b, 'still with the old one');
  await cluster.world.run(31_000);
  // The first question on each side begins the reading, and is still asked and judged by the secret before.
  await ask(a, b, 'as the reading begins');
  await cluster.world.run(1_000);
  await ask(a, b, 'with the new one');
  await ask(b, a, 'with the new one');
  await assert.rejects(b.verify(question('stolen'), stolen.headers), WRONG);
});

test('A1: a record that holds no whole secret proves nothing', async () => {
  const cluster = new Cluster();
  const a = cluster.join('a');
  const record = PeerSecretRecord.encode({ writeId: 'x', secret: Buffer.alloc(0) }).finish();
  await cluster.store.commit(putTxn('x', PEER_SECRET_KEY, record, 0n));
  await assert.rejects(a.ask(question('who?')), /holds no secret/);
  let reads = 0;
  const get = cluster.store.get.bind(cluster.store);
  cluster.store.get = (key) => (reads++, get(key));
  for (let i = 0; i < 100; i++) await assert.rejects(a.ask(question('who?')), /cannot be read yet/);
  assert.equal(reads, 0, 'no more than one reading in a second');
});

test('A1: wrong proofs cause one reading of the store in a second, however many there are', async () => {
  const cluster = new Cluster();
  const [a, b] = [cluster.join('a'), cluster.join('b')];
  const { headers } = await a.ask(question('who?'));
  await b.verify(question('who?'), headers);
  let reads = 0;
  const get = cluster.store.get.bind(cluster.store);
  cluster.store.get = (key) => (reads++, get(key));
  await cluster.world.run(2_000);
  for (let i = 0; i < 100; i++)
    await assert.rejects(b.verify(question('who!'), { ...headers, [PROOF_HEADERS.number]: String(i + 2) }), WRONG);
  assert.equal(reads, 1);
});
