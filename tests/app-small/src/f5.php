<?php

return 5;
