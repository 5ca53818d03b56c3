/** `latchkey completion`: completion scripts for shells, made from the program's own commands. Depends on commander. */
import { Argument, type Command } from "commander";
import { describeCommand, type JsonOption, type Session } from "./command.js";
import { toJson, writeLine } from "./terminal.js";

/** The words that can follow a command. */
interface Place {
  /** Such as `/users/add`; empty for `latchkey` itself. */
  readonly path: string;
  readonly words: readonly string[];
  /** Options with a fixed list of values. */
  readonly choices: readonly (readonly [option: string, values: readonly string[]])[];
}

const shells = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

export function addCompletionCommand(program: Command, session: Session): void {
  const names = Object.keys(shells);
  describeCommand(
    program.command("completion"),
    "Write a script by which a shell completes commands and options.",
    'eval "$(latchkey completion bash)"',
  )
    .addArgument(new Argument("<shell>", "the shell").choices(names))
    .action(async (shell: keyof typeof shells, { json }: JsonOption) => {
      const script = shells[shell](placesOf(program));
      await writeLine(session.terminal.stdout, json ? toJson({ shell, script }) : script);
    });
}

function placesOf(command: Command, path = ""): Place[] {
  const options = command.options.filter(({ hidden }) => !hidden);
  const here: Place = {
    path,
    words: [
      ...command.commands.map((each) => each.name()),
      ...command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices),
      ...options.flatMap(({ long }) => long ?? []),
      "--help",
    ],
    choices: options.flatMap(({ long, argChoices }) =>
      long && argChoices ? [[long, argChoices] as const] : [],
    ),
  };
  const below = command.commands.flatMap((each) => placesOf(each, `${path}/${each.name()}`));
  return [here, ...below];
}

/** The lines of a `case` over the command's path and the preceding word. */
const offersOf = (places: readonly Place[], offer: (words: readonly string[]) => string) =>
  places
    .flatMap(({ path, words, choices }) => [
      ...choices.map(([option, values]) => `    "${path} ${option}") ${offer(values)} ;;`),
      `    "${path} "*) ${offer(words)} ;;`,
    ])
    .join("\n");

const pathsOf = (places: readonly Place[]) =>
  places.flatMap(({ path }) => (path === "" ? [] : [path])).join("|");

/** Completes file names if no word fits. */
function bashScript(places: readonly Place[]): string {
  return `_latchkey() {
  local word place="" current="\${COMP_WORDS[COMP_CWORD]}"
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$place/$word" in ${pathsOf(places)}) place="$place/$word" ;; esac
  done
  case "$place \${COMP_WORDS[COMP_CWORD-1]}" in
${offersOf(places, (words) => `COMPREPLY=($(compgen -W "${words.join(" ")}" -- "$current"))`)}
  esac
}
complete -o default -F _latchkey latchkey`;
}

function zshScript(places: readonly Place[]): string {
  return `#compdef latchkey
_latchkey() {
  local word place=""
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "$place/$word" in (${pathsOf(places)}) place="$place/$word" ;; esac
  done
  case "$place \${words[CURRENT-1]}" in
${offersOf(places, (words) => `compadd -- ${words.join(" ")}`).replaceAll(/^ {4}"/gm, '    ("')}
  esac
  _files
}
compdef _latchkey latchkey`;
}

function fishScript(places: readonly Place[]): string {
  return `function __latchkey_offers
  set -l tokens (commandline -opc)
  set -l place ""
  for word in $tokens[2..]
    switch "$place/$word"
      case ${pathsOf(places).replaceAll("|", " ")}
        set place "$place/$word"
    end
  end
  switch "$place $tokens[-1]"
${places
  .flatMap(({ path, words, choices }) => [
    ...choices.map(([option, values]) => [`"${path} ${option}"`, values] as const),
    [`"${path} *"`, words] as const,
  ])
  .map(([pattern, words]) => `    case ${pattern}\n      printf '%s\\n' ${words.join(" ")}`)
  .join("\n")}
  end
end
complete -c latchkey -a "(__latchkey_offers)"`;
}
