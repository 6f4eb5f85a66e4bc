// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

// TemporaryName is what a file is called that a Put leaves when it is killed before its rename.
var TemporaryName = temporaryName

// MaxFileSize is how many bytes of a record's file are read.
const MaxFileSize = maxFileSize
