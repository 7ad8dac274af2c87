/** The reasons for which silent instances are not judged. GetStatus and the metrics show them. */
export const PAUSE_REASONS = [
  'STARTING',
  'STORE_UNREACHABLE',
  'STORE_NOT_WRITABLE',
  'MEMBERSHIP_UNCONFIRMED',
  'SELF_BEAT_LATE',
  'PEER_UNREACHABLE',
  'GRACE',
] as const;

/** One of them. */
export type PauseReason = (typeof PAUSE_REASONS)[number];
