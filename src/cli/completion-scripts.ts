/** The scripts that teach a shell to ask gate what may stand at its cursor. */

export const shells = ['bash', 'zsh', 'fish', 'powershell'] as const;
export type Shell = (typeof shells)[number];

/** The one line that asks for file names instead of giving candidates; no candidate begins with a colon. */
export const filesAnswer = ':files';

/** Bash replaces only what follows the last break character, so it says which ones it has; 3.2 of macOS is enough. */
const bash = `# Completion of gate for bash. To load it: source <(gate completion bash)
_gate() {
  COMPREPLY=()
  local line
  while IFS= read -r line; do
    if [[ $line == '${filesAnswer}' ]]; then
      local IFS=$'\\n'
      COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}"))
      type compopt >/dev/null 2>&1 && compopt -o filenames 2>/dev/null
      return
    fi
    COMPREPLY+=("\${line%%$'\\t'*}")
  done < <(gate completion bash --answer -- "\${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
}
complete -F _gate gate
`;

const zsh = `#compdef gate
# Completion of gate for zsh. To load it: source <(gate completion zsh), or keep this text as _gate in a directory of fpath.
_gate() {
  local -a answer values shown
  local line
  answer=("\${(@f)$(gate completion zsh --answer -- "\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}" 2>/dev/null)}")
  if [[ $answer[1] == '${filesAnswer}' ]]; then
    _files
    return
  fi
  for line in $answer; do
    values+=("\${line%%$'\\t'*}")
    shown+=("\${line/$'\\t'/  -- }")
  done
  compadd -l -d shown -a values
}
if [[ $funcstack[1] == _gate ]]; then
  _gate "$@"
else
  compdef _gate gate
fi
`;

const fish = `# Completion of gate for fish. To load it: gate completion fish | source
function __gate_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l answer (gate completion fish --answer -- $words[2..-1] "$current" 2>/dev/null)
    if test "$answer[1]" = '${filesAnswer}'
        __fish_complete_path "$current"
    else if set -q answer[1]
        printf '%s\\n' $answer
    end
end
complete -c gate -f -a '(__gate_complete)'
`;

/** PowerShell drops empty arguments, so it hands over the line and marks its end. */
const powershell = `# Completion of gate for PowerShell. To load it: gate completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName gate -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $line = $commandAst.Extent.Text
    $length = $cursorPosition - $commandAst.Extent.StartOffset
    if ($length -lt $line.Length) { $line = $line.Substring(0, $length) } else { $line = $line.PadRight($length) }
    $answer = @(gate completion powershell --answer $line 2>$null)
    if ($answer.Count -gt 0 -and $answer[0] -eq '${filesAnswer}') {
        [System.Management.Automation.CompletionCompleters]::CompleteFilename($wordToComplete)
        return
    }
    foreach ($entry in $answer) {
        $value, $description = $entry -split "\`t", 2
        if (-not $description) { $description = $value }
        [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', $description)
    }
}
`;

export const completionScripts: Readonly<Record<Shell, string>> = { bash, zsh, fish, powershell };
