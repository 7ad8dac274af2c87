#!/usr/bin/env node
import { endProcess, runProgram } from './cli/program.js';

void runProgram(process.argv.slice(2)).then(endProcess);
