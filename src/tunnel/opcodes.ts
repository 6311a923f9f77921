/** The numbers of RFC 6455 that both ways of a tunnel need (5.2, 5.5). */
export const opcodes = { continuation: 0x0, text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const;

/** Payload of a close, ping or pong frame. */
export const controlBytesMax = 125;
