import { parentPort } from 'node:worker_threads';
import { type FormattedText, inspectAll } from './inspector.js';

// The thread of ThreadInspector: answers each list of texts with the list of its inspections.
parentPort!.on('message', (texts: readonly FormattedText[]) => parentPort!.postMessage(inspectAll(texts)));
