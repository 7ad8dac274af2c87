// Writes docs/reference/access.schema.json, the JSON Schema of an access file for editors, from the shape that the server checks.
import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import { ACCESS_SCHEMA } from '../src/access/access-schema.js';
import { formatted, isProgram } from './reference.js';

const SCHEMA = new URL('../docs/reference/access.schema.json', import.meta.url);

/** The JSON Schema of an access file. Rules that a schema cannot say are checked by the server alone. */
export function accessSchema(): Promise<string> {
  const shape = z.toJSONSchema(ACCESS_SCHEMA, { target: 'draft-7', io: 'input', unrepresentable: 'any' });
  return formatted(SCHEMA, 'json', JSON.stringify({ ...shape, title: 'Access to Rollcall' }));
}

if (isProgram(import.meta.url)) writeFileSync(SCHEMA, await accessSchema());
