import assert from 'node:assert/strict';
import type { WatchProgress } from '../../src/gen/rollcall/v1/watch.js';

/** A message of a watch with the fields of its progress beside its own. */
export type Flat<M> = Omit<M, 'progress'> & WatchProgress;

/** Puts the progress of a message beside its other fields. */
export function flat<M extends { readonly progress: WatchProgress | undefined }>(message: M): Flat<M> {
  const { progress, ...rest } = message;
  assert.ok(progress, 'every message carries its progress');
  return { ...rest, ...progress };
}
