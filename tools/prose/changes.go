// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// changedFile is a file with the lines of it that are to check.
type changedFile struct {
	path  string
	lines map[int]bool // nil: every line
}

// isChanged reports whether one of the lines first to last is new.
func (f changedFile) isChanged(first, last int) bool {
	if f.lines == nil {
		return true
	}
	for line := first; line <= last; line++ {
		if f.lines[line] {
			return true
		}
	}
	return false
}

// changedFiles returns the files below dir with lines that base does not have, in the order of their paths. It returns none,
// with a note, if dir is not the top of a git checkout.
func changedFiles(dir, base string, all bool, notes io.Writer) ([]changedFile, error) {
	if _, err := os.Stat(filepath.Join(dir, ".git")); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(notes, "prose: skipped: this is no git checkout, so new lines cannot be distinguished from old ones")
		return nil, nil
	}
	if all {
		return listedFiles(dir, "--cached", "--others")
	}
	from, err := startCommit(dir, base, notes)
	if err != nil {
		return nil, err
	}
	// -w: a line of other indentation is no new line. -l0: any number of renamed files.
	diff, err := git(dir, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules", "-w", "-U0", "-M40%", "-l0",
		"--src-prefix=a/", "--dst-prefix=b/", from, "--")
	if err != nil {
		return nil, err
	}
	added, removed, err := parseDiff(diff)
	if err != nil {
		return nil, err
	}
	untracked, err := listedFiles(dir, "--others")
	if err != nil {
		return nil, err
	}
	for _, file := range untracked {
		content, err := os.ReadFile(filepath.Join(dir, file.path))
		if err != nil {
			return nil, err
		}
		for i, line := range strings.Split(string(content), "\n") {
			added = append(added, diffLine{path: file.path, number: i + 1, text: line})
		}
	}
	return withoutMoved(added, removed), nil
}

// startCommit returns the commit whose lines are old: where base and HEAD have parted or, if the history does not reach
// that far, the oldest commit of it.
func startCommit(dir, base string, notes io.Writer) (string, error) {
	if out, err := git(dir, "merge-base", base, "HEAD"); err == nil {
		return strings.TrimSpace(string(out)), nil
	}
	out, err := git(dir, "rev-list", "--max-parents=0", "HEAD")
	if err != nil {
		return "", err
	}
	roots := strings.Fields(string(out))
	oldest := roots[len(roots)-1]
	fmt.Fprintf(notes, "prose: the history does not reach back to %.12s: only lines that are newer than %.12s are checked\n", base, oldest)
	return oldest, nil
}

// listedFiles returns the files that git ls-files lists, each with all of its lines.
func listedFiles(dir string, args ...string) ([]changedFile, error) {
	out, err := git(dir, append([]string{"ls-files", "-z", "--exclude-standard", "--deduplicate"}, args...)...)
	if err != nil {
		return nil, err
	}
	var files []changedFile
	for path := range strings.SplitSeq(string(out), "\x00") {
		if info, err := os.Lstat(filepath.Join(dir, path)); path != "" && err == nil && info.Mode().IsRegular() {
			files = append(files, changedFile{path: path})
		}
	}
	return files, nil
}

// diffLine is an added or removed line. The number of a removed line is 0.
type diffLine struct {
	path   string
	number int
	text   string
}

var hunkHeader = regexp.MustCompile(`^@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@`)

// parseDiff reads git diff's output without context lines.
func parseDiff(diff []byte) (added, removed []diffLine, err error) {
	path, number, minus, plus := "", 0, 0, 0
	lines := bufio.NewScanner(bytes.NewReader(diff))
	lines.Buffer(nil, len(diff)+1)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case minus > 0 && strings.HasPrefix(line, "-"):
			minus--
			removed = append(removed, diffLine{text: line[1:]})
		case plus > 0 && strings.HasPrefix(line, "+"):
			plus--
			added = append(added, diffLine{path: path, number: number, text: line[1:]})
			number++
		case strings.HasPrefix(line, "+++ "):
			path = strings.TrimSuffix(line[len("+++ "):], "\t")
			if unquoted, err := strconv.Unquote(path); err == nil {
				path = unquoted
			}
			path = strings.TrimPrefix(path, "b/")
		default:
			if m := hunkHeader.FindStringSubmatch(line); m != nil {
				minus, plus = hunkLines(m[1]), hunkLines(m[3])
				if number, err = strconv.Atoi(m[2]); err != nil {
					return nil, nil, fmt.Errorf("git diff: %w", err)
				}
			}
		}
	}
	return added, removed, lines.Err()
}

// hunkLines returns the count of a hunk's header, which is 1 where it is left out.
func hunkLines(count string) int {
	n, err := strconv.Atoi(count)
	if err != nil {
		return 1
	}
	return n
}

// withoutMoved groups the added lines by file. An added line that was removed elsewhere is moved, not new: a file that is
// split in two is no rename.
func withoutMoved(added, removed []diffLine) []changedFile {
	moved := map[string]int{}
	for _, line := range removed {
		moved[normalize(line.text)]++
	}
	byPath := map[string]map[int]bool{}
	for _, line := range added {
		text := normalize(line.text)
		if moved[text] > 0 {
			moved[text]--
			continue
		}
		if byPath[line.path] == nil {
			byPath[line.path] = map[int]bool{}
		}
		byPath[line.path][line.number] = true
	}
	var files []changedFile
	for path, lines := range byPath {
		files = append(files, changedFile{path: path, lines: lines})
	}
	slices.SortFunc(files, func(a, b changedFile) int { return strings.Compare(a.path, b.path) })
	return files
}

// normalize makes lines equal that differ in white space only.
func normalize(line string) string {
	return strings.Join(strings.Fields(line), " ")
}

func git(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("git", append([]string{"-c", "core.quotePath=false"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(exit.Stderr))
	}
	return out, err
}
