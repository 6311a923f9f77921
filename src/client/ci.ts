/** Whether nobody is watching: the variable CI, as all pipelines set it. */

export function isCi(environment: NodeJS.ProcessEnv): boolean {
  const value = environment['CI']?.trim().toLowerCase();
  return value !== undefined && value !== '' && value !== 'false' && value !== '0';
}
