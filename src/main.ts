#!/usr/bin/env node
import { runProgram } from './cli/program.js';

runProgram(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    throw error;
  },
);
