// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ruler separates the texts.
var ruler = strings.Repeat("=", 80) + "\n"

const preface = `The programs of this package contain the modules below, or parts of them. Their licences
require that the following texts accompany copies in binary form.

The BPF programs of the command halfclose, which kubectl-halfclose does not have, are compiled
with macros of libbpf's headers, Copyright (c) the libbpf authors. Of their licences, LGPL-2.1 and
BSD-2-Clause, the choice is BSD-2-Clause, whose text is in BSD-2-Clause.txt.

`

// writeNotices writes the licences and notices of libraries: a table, and each text once with the libraries that it
// belongs to.
func writeNotices(path string, libraries []library) error {
	var b bytes.Buffer
	b.WriteString(preface)
	type text struct {
		of      []string
		content []byte
	}
	var texts []*text
	known := make(map[[sha256.Size]byte]*text)
	for _, l := range libraries {
		fmt.Fprintf(&b, "  %s %s: %s\n", l.Path, l.Version, strings.Join(l.Licences, ", "))
		for _, name := range l.files {
			content, err := os.ReadFile(filepath.Join(l.dir, name))
			if err != nil {
				return err
			}
			sum := sha256.Sum256(content)
			if known[sum] == nil {
				known[sum] = &text{content: content}
				texts = append(texts, known[sum])
			}
			known[sum].of = append(known[sum].of, fmt.Sprintf("%s %s: %s", l.Path, l.Version, filepath.ToSlash(name)))
		}
	}
	for _, t := range texts {
		b.WriteString("\n" + ruler + strings.Join(t.of, "\n") + "\n" + ruler + "\n")
		b.Write(t.content)
		if !bytes.HasSuffix(t.content, []byte("\n")) {
			b.WriteByte('\n')
		}
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
