// The entry of `npm run bench`. Each mode is loaded only when it is asked for: a comparison needs nothing of src.
if (process.argv[2] === 'compare') await import('./compare.js');
else if (process.argv[2] === 'soak') await (await import('./soak.js')).soak(Number(process.argv[3] ?? 60));
else if (process.argv[2] === 'refusals') await (await import('./refusals.js')).refusals();
else if (process.argv[2] === 'streams') await (await import('./streams.js')).streams(process.argv[3]);
else if (process.argv[2] === 'checks') await (await import('./checks.js')).checks();
else await import('./run.js');
