// The types of the adapter for Taro.

import type { Platform } from './menshen';

/** Makes the `wx` of `createClient` from `Taro`. */
export function taroPlatform(Taro: object): Platform;
