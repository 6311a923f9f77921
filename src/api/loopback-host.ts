/** Which hosts are this machine, where plain http never leaves it. */

/** Whether a URL's host is this machine by its spelling alone; no name is looked up. */
export function isLoopbackHost(hostname: string): boolean {
  return (
    hostname === 'localhost' ||
    hostname.endsWith('.localhost') ||
    hostname === '[::1]' ||
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(hostname)
  );
}
