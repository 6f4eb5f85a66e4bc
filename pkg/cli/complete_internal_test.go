// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/daemon"
	"github.com/halfclose/halfclose/pkg/flagvalue"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// servePods answers with attachments of pods and a container. Some names must not reach a shell.
func servePods(t *testing.T, dir string) {
	t.Helper()
	s := apitest.QuietStatus()
	for _, a := range []api.AttachmentView{
		{Pod: state.Pod{Namespace: "shop", Name: "web-2"}},
		{Pod: state.Pod{Namespace: "shop", Name: "web-1"}},
		{Pod: state.Pod{Namespace: "shop", Name: "web-1"}}, // of another interface
		{Attachment: state.Attachment{ContainerID: "0123456789abcdef"}},
		{Pod: state.Pod{Namespace: "shop", Name: "$(reboot)"}},
		{Pod: state.Pod{Namespace: "shop", Name: apitest.Hostile}},
	} {
		a.Policy, a.Mode = api.PolicyView(policy.Default()), policy.Destroy
		s.Attachments = append(s.Attachments, a)
	}
	serveReaper(t, dir, func(w http.ResponseWriter, _ *http.Request) { writeJSON(t, w, s) })
}

func TestCompletion(t *testing.T) {
	dir, empty := nstest.ShortDir(t), nstest.ShortDir(t)
	servePods(t, dir)
	const noFiles = cobra.ShellCompDirectiveNoFileComp
	outputs := []string{"table", "wide", "json", "yaml"}
	pods := []string{"0123456789abc", "shop/web-1", "shop/web-2"}
	for _, tt := range []struct {
		name      string
		args      []string
		want      []string
		directive cobra.ShellCompDirective
	}{
		{"modes", []string{"mode", ""}, []string{"destroy", "observe"}, noFiles},
		{"nothing after a mode", []string{"mode", "destroy", ""}, nil, noFiles},
		{"shells", []string{"completion", ""}, []string{"bash", "fish", "powershell", "zsh"}, noFiles},
		{"pods of sockets", []string{"sockets", "--state-dir", dir, "--pod", ""}, pods, noFiles},
		{"pods of status", []string{"status", "--state-dir", dir, "--pod", ""}, pods, noFiles},
		{"pods of history, in one word", []string{"history", "--state-dir", dir, "--pod="}, pods, noFiles},
		{"pods without a reaper", []string{"sockets", "--state-dir", empty, "--pod", ""}, nil, noFiles},
		{"pods without a state directory", []string{"sockets", "--state-dir", "/nowhere/at/all", "--pod", ""}, nil, noFiles},
		{"pods of an invalid state directory", []string{"sockets", "--state-dir", "/" + strings.Repeat("x", 200), "--pod", ""}, nil, noFiles},
		{"states", []string{"sockets", "--state", ""}, []string{"CLOSE_WAIT", "FIN_WAIT2"}, noFiles},
		{"verdicts", []string{"sockets", "--verdict", ""}, flagvalue.Verdicts(), noFiles},
		{"outcomes", []string{"history", "--outcome", ""}, []string{"destroyed", "would-destroy", "peer-gone", "closed", "failed"}, noFiles},
		{"outputs of status", []string{"status", "--output", ""}, outputs, noFiles},
		{"outputs of sockets", []string{"sockets", "-o", ""}, outputs, noFiles},
		{"outputs of history", []string{"history", "-o", ""}, outputs, noFiles},
		{"outputs of mode", []string{"mode", "-o", ""}, outputs, noFiles},
		{"outputs of version", []string{"version", "-o", ""}, outputs, noFiles},
		{"modes of a reaper", []string{"reaper", "--mode", ""}, []string{"destroy", "observe", "off"}, noFiles},
		{"finders", []string{"reaper", "--finder", ""}, []string{"auto", "sockdiag", "bpf"}, noFiles},
		{"levels", []string{"reaper", "--log-level", ""}, []string{"debug", "info", "warn", "error"}, noFiles},
		{"formats", []string{"reaper", "--log-format", ""}, []string{"text", "json"}, noFiles},
		{"no files for a command without arguments", []string{"sockets", ""}, nil, noFiles},
		{"commands", []string{"hist"}, []string{"history"}, noFiles},
		{"directories, by the shell", []string{"status", "--state-dir", ""}, nil, cobra.ShellCompDirectiveFilterDirs},
		{"directories of a reaper", []string{"reaper", "--host-root", ""}, nil, cobra.ShellCompDirectiveFilterDirs},
		{"files, by the shell", []string{"sockets", "--netns", "/run/"}, nil, cobra.ShellCompDirectiveDefault},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, _ := call(t, nil, append([]string{"__complete"}, tt.args...)...)
			if code != 0 {
				t.Errorf("exit code %d", code)
			}
			var got []string
			directive := ""
			for line := range strings.Lines(stdout) {
				line, _, _ = strings.Cut(strings.TrimSpace(line), "\t") // a description
				if d, ok := strings.CutPrefix(line, ":"); ok {
					directive = d
					break
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if directive != fmt.Sprint(int(tt.directive)) {
				t.Errorf("the directive is %s, not %d", directive, tt.directive)
			}
		})
	}
}

// TestMain runs the test binary as halfclose if it has that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "halfclose" {
		os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr, daemon.Command(daemon.Environment{})))
	}
	os.Exit(m.Run())
}

// linkToSelf returns a path, named halfclose, that executes the test binary as halfclose.
func linkToSelf(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "halfclose")
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// realBashCompletion is the file of the package bash-completion.
const realBashCompletion = "/usr/share/bash-completion/bash_completion"

// preambles returns what a shell runs before the completion script: nothing, without the package bash-completion, or one
// of the package's two functions that the script may call, or the package itself if it is installed.
func preambles() map[string]string {
	const words = `() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; used=1; }
trap '((used)) || echo not-used' EXIT
`
	all := map[string]string{"without bash-completion": "", "an old bash-completion": "_get_comp_words_by_ref" + words, "a new bash-completion": "_init_completion" + words}
	if _, err := os.Stat(realBashCompletion); err == nil {
		all["the installed bash-completion"] = ". " + realBashCompletion + "\n"
	}
	return all
}

func TestBashRunsTheCompletionScript(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		nstest.Skip(t, "no bash: install it")
	}
	dir := nstest.ShortDir(t)
	servePods(t, dir)
	bin := filepath.Dir(linkToSelf(t))
	for _, tt := range []struct {
		words []string
		want  []string
	}{
		{[]string{"mode", ""}, []string{"destroy", "observe"}},
		{[]string{"mode", "o"}, []string{"observe"}},
		{[]string{"stat"}, []string{"status"}},
		{[]string{"sockets", "--verdict", "unre"}, []string{"unread-data"}},
		{[]string{"sockets", "--pod", "shop/"}, []string{"shop/web-1", "shop/web-2"}},
		{[]string{"sockets", "--pod", "0"}, []string{"0123456789abc"}},
	} {
		for name, preamble := range preambles() {
			t.Run(strings.Join(tt.words, " ")+" "+name, func(t *testing.T) {
				if got := completeInBash(t, bin, dir, preamble, tt.words, "halfclose "+strings.Join(tt.words, " ")); !slices.Equal(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		}
	}
	t.Run("without bash-completion", func(t *testing.T) {
		for line, tt := range map[string]struct{ words, want []string }{
			"halfclose mode --output=js":         {[]string{"mode", "--output", "=", "js"}, []string{"json"}},
			"halfclose sockets --output=":        {[]string{"sockets", "--output", "="}, []string{"json", "table", "wide", "yaml"}},
			"halfclose sockets --pod=shop/web-1": {[]string{"sockets", "--pod", "=", "shop/web-1"}, []string{"shop/web-1"}},
			"halfclose  --state-dir   /sys/ker":  {[]string{"--state-dir", "/sys/ker"}, []string{"/sys/kernel"}},
		} {
			if got := completeInBash(t, bin, dir, "", tt.words, line); !slices.Equal(got, tt.want) {
				t.Errorf("%s: got %q, want %q", line, got, tt.want)
			}
		}
	})
}

// completeInBash returns the completions of a command line, sorted. words are its words after the first as bash splits
// them; the cursor is behind the last. The script must print nothing on stderr.
func completeInBash(t *testing.T, bin, dir, preamble string, words []string, line string) []string {
	t.Helper()
	words = append([]string{"halfclose"}, words...)
	script := preamble + `
. <(halfclose completion bash)
complete -p halfclose >/dev/null || exit 1
compopt() { :; } # bash refuses it outside a completion
COMP_WORDS=(` + quoted(words) + `) COMP_CWORD=` + fmt.Sprint(len(words)-1) + ` COMP_TYPE=9 COMP_LINE='` + line + `' COMP_POINT=${#COMP_LINE}
__start_halfclose
printf '%s\n' "${COMPREPLY[@]}"
`
	cmd := exec.Command("bash", "--norc", "--noprofile", "-c", script)
	// The race detector delays each exit by 1 s unless GORACE sets another time.
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HALFCLOSE_STATE_DIR=" + dir, "GORACE=atexit_sleep_ms=0"}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v: %s", line, err, &stderr)
	}
	got := strings.Fields(string(out))
	got = slices.DeleteFunc(got, func(w string) bool { return strings.HasPrefix(w, "(") }) // a description
	slices.Sort(got)
	return got
}

// quoted quotes words for a shell.
func quoted(words []string) string {
	var list []string
	for _, w := range words {
		list = append(list, "'"+w+"'")
	}
	return strings.Join(list, " ")
}

func TestEachShellHasItsScript(t *testing.T) {
	for shell, want := range map[string]string{"zsh": "#compdef halfclose", "fish": "complete -c halfclose", "powershell": "Register-ArgumentCompleter", "bash": "complete -o default -F __start_halfclose halfclose"} {
		code, stdout, stderr := call(t, nil, "completion", shell)
		if code != 0 || stderr != "" || !strings.Contains(stdout, want) {
			t.Errorf("%s: exit code %d, %s; its script lacks %q", shell, code, stderr, want)
		}
	}
}
