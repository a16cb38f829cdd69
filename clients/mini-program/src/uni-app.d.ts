// The types of the adapter for uni-app.

import type { Platform } from './menshen';

/** Makes the `wx` of `createClient` from `uni`. */
export function uniPlatform(uni: object): Platform;
