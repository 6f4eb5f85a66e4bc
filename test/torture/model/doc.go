// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package model expects what happens to each connection of the torture test.
//
// It is written from the tables of docs/judgement.md, docs/configuration.md and docs/operate.md. It imports nothing of
// halfclose, so a fault of halfclose is not a fault of the model too.
package model
