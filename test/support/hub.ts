import { UnsentBytes } from '../../src/api/call/unsent-bytes.js';
import { WatchHub, type WatchHubParts } from '../../src/api/watch/hub.js';

/** A hub whose streams share their bound on unsent bytes with nothing else. */
export const hubOf = (parts: Omit<WatchHubParts, 'unsent'>): WatchHub =>
  new WatchHub({ ...parts, unsent: new UnsentBytes() });
