import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HISTOGRAMS } from '../../../../src/domain/cluster/instruments.js';
import { Propagation } from '../../../../src/domain/cluster/propagation.js';
import { ClusterStage } from '../../../support/cluster-stage.js';

function measured(): {
  at: (ms: number) => void;
  propagation: Propagation;
  values: () => [place: string, s: number][];
} {
  let now = 0;
  const values: [string, number][] = [];
  const clock = { now: () => now } as never;
  const observe = (histogram: unknown, value: number): void => {
    const place = Object.entries(HISTOGRAMS).find(([, one]) => one === histogram)![0];
    values.push([place, value]);
  };
  const propagation = new Propagation(clock, { observe });
  return { at: (ms) => (now = ms), propagation, values: () => values.splice(0) };
}

test('a rewrite is measured from its confirmation to each place, and as 0 where it was seen before', () => {
  const { at, propagation, values } = measured();
  at(100);
  propagation.reached('catalog', 'w1');
  at(150);
  propagation.confirmed('w1');
  at(200);
  propagation.reached('watch', 'w1');
  at(1_150);
  propagation.reportedBy('peer', { writeId: 'w1', ageMs: 600 });
  assert.deepEqual(values(), [
    ['catalog', 0],
    ['watch', 0.05],
    ['peer', 0.4],
  ]);
});

test('a peer counts once for each rewrite, and rewrites of long ago do not count', () => {
  const { at, propagation, values } = measured();
  propagation.confirmed('w0');
  for (let i = 1; i <= 10; i++) propagation.confirmed(`w${i}`);
  at(10);
  for (const peer of ['b', 'b', 'c']) propagation.reportedBy(peer, { writeId: 'w5', ageMs: 0 });
  propagation.reportedBy('b', { writeId: 'w0', ageMs: 0 });
  propagation.reportedBy('c', { writeId: 'unknown', ageMs: 0 });
  assert.deepEqual(values(), [
    ['peer', 0.01],
    ['peer', 0.01],
  ]);
});

test('members measure one another, by the questions that they ask anyway', async () => {
  const stage = new ClusterStage();
  stage.watchDelayMs = () => 250; // of each revision, one after the other
  const members = [await stage.start('a'), await stage.start('b')];
  await stage.pass(60_000);
  for (const { values } of members) {
    const at = (place: keyof typeof HISTOGRAMS): number[] => values.get(HISTOGRAMS[place]) ?? [];
    assert.ok(at('catalog').length >= 15, `${at('catalog').length} rewrites in 60 s`);
    assert.ok(at('peer').length >= 4, `${at('peer').length} answers in 60 s`);
    for (const value of [...at('catalog'), ...at('peer')]) assert.ok(value >= 0.24 && value < 0.6, `${value} s`);
  }
});
