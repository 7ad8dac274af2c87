import { hash, randomBytes } from 'node:crypto';

/** Tokens begin so: a person, and a scanner for leaked secrets, knows one when it sees one. */
const PREFIX = 'rc_';
/** 256 bits: a token cannot be guessed, so a fast hash is enough, and a slow one would let callers burn the CPU. */
const SECRET_BYTES = 32;

/** The form of every token. */
const TOKEN = /^rc_[A-Za-z0-9_-]{43}$/;
/** The form of a hash in an access file. */
export const TOKEN_HASH = /^sha256:[A-Za-z0-9_-]{43}$/;

/** The rule for names of tokens, issuers and own roles. */
export const CALLER_NAME = {
  pattern: /^[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?$/,
  words: 'must be 1 to 64 ASCII letters, digits, ".", "_", "@" or "-", with a letter or digit first and last',
};

/** Draws a token. */
export const newToken = (): string => PREFIX + randomBytes(SECRET_BYTES).toString('base64url');

/** Returns true if a credential has the form of a token. */
export const isToken = (credential: string): boolean => TOKEN.test(credential);

/** The hash by which an access file knows a token. */
export const hashOf = (token: string): string => `sha256:${hash('sha256', token, 'base64url')}`;
