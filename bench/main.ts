// The entry of `npm run bench`. Each mode is loaded only when it is asked for: a comparison needs nothing of src.
if (process.argv[2] === 'compare') await import('./compare.js');
else await import('./run.js');
