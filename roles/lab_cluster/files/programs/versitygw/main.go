// Copyright: (c) 2026, Sovereign Cloud Stack
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// S3 over a folder: versitygw with its posix backend alone, for the other backends' clouds cost most of the build.
//
// Called like versitygw's own program, with the part of its options that is needed. The root account comes by
// ROOT_ACCESS_KEY and ROOT_SECRET_KEY, so that no key is seen in the list of processes. Other accounts are read
// from users.json in the -iam-dir, and get their rights by bucket policies.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	port := flag.String("port", ":7070", "[host]:port to serve S3 on")
	certificate := flag.String("cert", "", "file with the certificate chain, PEM")
	key := flag.String("key", "", "file with the private key, PEM")
	iamDir := flag.String("iam-dir", "", "folder with users.json, for accounts beside root's")
	region := flag.String("region", "us-east-1", "region of the buckets")
	accessLog := flag.Bool("access-log", false, "a line for each request on standard output")
	flag.Parse()
	if flag.NArg() != 2 || flag.Arg(0) != "posix" || *certificate == "" || *key == "" {
		log.Fatal("usage: versitygw -cert FILE -key FILE [-port HOST:PORT] [-iam-dir FOLDER] [-region NAME] [-access-log] posix FOLDER")
	}
	if err := run(flag.Arg(1), embedgw.Config{
		RootUserAccess:    os.Getenv("ROOT_ACCESS_KEY"),
		RootUserSecret:    os.Getenv("ROOT_SECRET_KEY"),
		Region:            *region,
		Ports:             []string{*port},
		CertFile:          *certificate,
		KeyFile:           *key,
		IAMDir:            *iamDir,
		IAMCacheDisable:   true,
		KeepAlive:         true,
		MaxConnections:    20000,
		MaxRequests:       10000,
		MultipartMaxParts: 10000,
		Quiet:             !*accessLog,
		HealthPath:        "/-/healthy",
		Version:           "v1.8.0",
	}); err != nil {
		log.Fatal(err)
	}
}

func run(folder string, config embedgw.Config) error {
	stopped, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := (meta.XattrMeta{}).Test(folder); err != nil {
		return fmt.Errorf("%s is on a file system without user.* extended attributes: %w", folder, err)
	}
	options := posix.PosixOpts{CopyObjectThreshold: 5 << 30}
	options.SetNewDirPerm(0o755)
	options.SetNewFilePerm(0o644)
	backend, err := posix.New(folder, meta.XattrMeta{}, options)
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(stopped, backend, &config)
}
