/** What `gate --help` says where no terminal sets a width. Made by `npm run docs`. */
export const helpText = `Usage: gate [options] [command]

Just-in-time, recorded access to PostgreSQL.

Options:
  -V, --version                            output the version number
  --relay <url>                            the relay to talk to (env: GATE_RELAY)
  --json                                   data and errors as JSON
  -h, --help                               show help

Commands:
  login                                    log in to a relay, by a code that is confirmed in a browser
  logout                                   end my login and forget it
  whoami                                   who the relay takes me for
  status                                   the relay, my login, and my open sessions
  targets                                  list what I may reach, and as what
  connect [options] <target...>            open a local port to a target
  exec [options] <target> [-]              run SQL on a target
  mcp [options]                            serve AI agents over MCP (stdio)
  requests                                 ask for access, and see who asks for what
  approve [options] <request>              approve a request of somebody else
  deny [options] <request>                 turn down a request of somebody else
  grants                                   list and revoke grants
  sessions                                 find, show, replay, follow and end sessions
  audit                                    read, export, verify and erase the record
  inventory [options]                      everybody and everything with access, and what they use of it
  evidence [options]                       collect evidence for an audit
  policy                                   check, explain, test and replay the policy file
  doctor [options] [target]                check the way from here to the relay, and to a target
  config                                   the settings in force
  completion [options] <shell> [words...]  print a script that completes commands, flags and names in a shell
  relay [options]                          run the relay (the service)
  witness [options]                        run a witness, which cosigns the checkpoints of relays
  dev [options]                            run everything on this machine: OIDC provider, relay, demo PostgreSQL
  help [command]                           display help for command
`;
